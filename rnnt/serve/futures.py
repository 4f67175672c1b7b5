"""Results that a thread gives to the event loop."""

import asyncio


def settle(future: asyncio.Future, result: object) -> None:
    """Give a future its result, from another thread. It may have been cancelled, and its loop closed."""

    def give() -> None:
        if not future.done():
            future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)

    try:
        future.get_loop().call_soon_threadsafe(give)
    except RuntimeError:
        return
