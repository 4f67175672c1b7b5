"""Many streams at once."""

import threading
import time

import numpy as np
import pytest
from serve_clients import closed, text_of, vosk
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def test_many_streams_have_the_results_that_they_have_alone(address, utterances, expected):
    order = [number % len(utterances) for number in range(14)]
    found = [None] * len(order)

    def speak(place):
        found[place] = text_of(vosk(address, utterances[order[place]], 500 + 37 * place)[1])

    threads = [threading.Thread(target=speak, args=(place,)) for place in range(len(order))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected[number].text for number in order]


def test_too_many_streams_are_refused_and_a_client_that_leaves_makes_room(served, serving, utterances, expected):
    with serving(served, streams=1) as address:
        with connect(f"ws://{address}/sherpa") as socket:
            socket.send(np.zeros(960, "<f4").tobytes())
            time.sleep(0.2)
            code, text = closed(address, "/sherpa")
            assert code == 1013 and "as many as it can" in text
        for _ in range(50):
            try:
                assert text_of(vosk(address, utterances[0])[1]) == expected[0].text
                break
            except (AssertionError, ConnectionClosed):
                time.sleep(0.1)
        else:
            pytest.fail("the stream of the client that left is still there")


def test_streams_that_are_too_long(served, serving):
    with serving(served, stream_seconds=1.0) as address:
        code, text = closed(address, "/sherpa", *[np.zeros(16000, "<f4").tobytes()] * 2)
        assert code == 1007 and "may last 1 s" in text
