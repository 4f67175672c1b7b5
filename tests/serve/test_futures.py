"""Results that a thread gives to the event loop."""

import asyncio
import threading

import pytest

from rnnt.serve.futures import settle


def from_a_thread(result, change=lambda future: None):
    async def wait():
        future = asyncio.get_running_loop().create_future()
        change(future)
        thread = threading.Thread(target=settle, args=(future, result))
        thread.start()
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)
        return await future

    return asyncio.run(wait())


def test_a_result_and_an_error():
    assert from_a_thread(3) == 3
    with pytest.raises(RuntimeError, match="no"):
        from_a_thread(RuntimeError("no"))


def test_who_does_not_wait_any_more_gets_nothing():
    assert from_a_thread(3, lambda future: future.set_result(4)) == 4
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    settle(future, 3)
    assert not future.done()
