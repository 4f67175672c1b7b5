"""Many recordings at once, and models that fail or take long."""

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
from serve_clients import error_of, post, wav

from rnnt.serve.file_engine import FileEngine
from rnnt.serve.limits import Limits
from rnnt.serve.metrics import Metrics
from rnnt.serve.steering import Steering
from rnnt.transcript import Transcript
from rnnt.transcription import transcribe_pieces


def test_many_at_once_have_the_results_that_they_have_alone(address, utterances, expected):
    order = [number % len(utterances) for number in range(20)]
    found = [None] * len(order)

    def ask(place):
        found[place] = post(address, {"file": wav(utterances[order[place]])}).json()["text"]

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(order))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected[number].text for number in order]


def test_too_many_recordings_are_refused_and_a_late_one_is_an_error(served, serving, utterances, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def slow(*args):
        begun.set()
        go.wait(20)
        return transcribe_pieces(*args)

    monkeypatch.setattr("rnnt.serve.file_engine.transcribe_pieces", slow)
    with serving(served, files=1, file_seconds=2.0) as address:
        found = []
        thread = threading.Thread(target=lambda: found.append(post(address, {"file": wav(utterances[0])})))
        thread.start()
        assert begun.wait(20)
        refused = post(address, {"file": wav(utterances[0])})
        assert "wait already" in error_of(refused, 429) and refused.headers["retry-after"]
        thread.join(20)
        assert "no transcript after 2 s" in error_of(found[0], 504)
        go.set()
        time.sleep(0.1)
        assert post(address, {"file": wav(utterances[0])}).status_code == 200


def test_a_model_that_fails_is_an_error_and_not_an_empty_text(served, serving, utterances, monkeypatch):
    with serving(served) as address:
        with monkeypatch.context() as patch:
            patch.setattr("rnnt.serve.file_engine.transcribe_pieces", lambda *_: 1 / 0)
            assert "the model failed" in error_of(post(address, {"file": wav(utterances[0])}), 500)
        assert post(address, {"file": wav(utterances[0])}).status_code == 200


def test_a_long_recording_has_its_transcript_from_several_turns(address, served, speech):
    samples = speech(100, 5)
    (whole,) = served.transcribe([samples])
    assert len(whole.segments) > 4
    answer = post(address, {"file": wav(samples)}, response_format="verbose_json").json()
    assert answer["text"] == whole.text and answer["duration"] == len(samples) / 16000
    bounds = [(segment["start"], segment["end"]) for segment in answer["segments"]]
    assert bounds == [(segment.start, segment.end) for segment in whole.segments]


def test_silence_has_no_text(address):
    assert post(address, {"file": wav(np.zeros(50 * 16000, np.int16))}).json()["text"] == ""


def test_a_short_recording_waits_for_one_turn_of_a_long_one(served, speech, utterances, monkeypatch):
    turns, asked = [], []

    def noted(recognizer, pieces, size):
        turns.append([piece.end - piece.start for piece in pieces])
        if len(turns) == 1:  # send the short recording during the first turn
            loop.call_soon_threadsafe(lambda: asked.append(asyncio.ensure_future(engine.transcribe(short, {}))))
            while not any(job.short for job in engine._jobs):
                time.sleep(0.01)
        return transcribe_pieces(recognizer, pieces, size)

    monkeypatch.setattr("rnnt.serve.file_engine.transcribe_pieces", noted)
    engine = FileEngine(Steering(served, Path("tiny")), Limits(), Metrics())
    short, long = (engine.grid.pieces(0, [samples]) for samples in (utterances[0], speech(200, 5)))

    async def ask():
        nonlocal loop
        loop = asyncio.get_running_loop()
        found = await engine.transcribe(long, {})
        return found.text, (await asked[0]).text

    loop = None
    try:
        found = asyncio.run(ask())
    finally:
        engine.stop()
    assert turns[1] == [len(utterances[0])] and len(turns) > 2
    assert found == tuple(served.transcribe([x])[0].text for x in (speech(200, 5), utterances[0]))


def test_clients_that_come_back_share_batches(served, utterances, monkeypatch):
    """Eight clients are one batch of eight soon, though the first one began alone; and one client waits for nobody."""
    sizes, begun = [], []

    def noted(recognizer, pieces, size):
        sizes.append(len(pieces))
        begun.append(time.monotonic())
        return transcribe_pieces(recognizer, pieces, size)

    monkeypatch.setattr("rnnt.serve.file_engine.transcribe_pieces", noted)
    engine = FileEngine(Steering(served, Path("tiny")), Limits(gather_seconds=1.0), Metrics())

    async def ask(clients, times):
        async def client():
            for _ in range(times):
                await engine.transcribe(engine.grid.pieces(0, [utterances[2]]), {})

        await asyncio.gather(*(client() for _ in range(clients)))

    try:
        asyncio.run(ask(8, 1))
        assert sum(sizes) == 8
        sizes.clear()
        asyncio.run(ask(8, 4))
        assert sum(sizes) == 32 and sizes.count(8) >= 3
        asyncio.run(ask(1, 1))  # the first turn after a crowd waits in vain
        since = time.monotonic()
        asyncio.run(ask(1, 1))
        assert begun[-1] - since < 0.7
    finally:
        engine.stop()


def test_turns_of_long_recordings_are_short(served, speech, monkeypatch):
    """A turn is as long as the speed allows, at least one segment, and recordings take turns."""
    turns = []

    def slow(recognizer, pieces, size):
        turns.append([piece.start for piece in pieces])
        time.sleep(0.2 * len(pieces))
        yield [(piece.without_samples(), Transcript("", [], [], [], [], 0.0)) for piece in pieces]

    monkeypatch.setattr("rnnt.serve.file_engine.transcribe_pieces", slow)
    engine = FileEngine(Steering(served, Path("tiny")), Limits(), Metrics())

    async def ask():
        recordings = [engine.grid.pieces(0, [speech(250, seed)]) for seed in (5, 6)]
        await asyncio.gather(*(engine.transcribe(recording, {}) for recording in recordings))
        return sum(map(len, recordings)) - 2

    try:
        assert asyncio.run(ask()) == sum(map(len, turns)) > 20
    finally:
        engine.stop()
    assert turns[0] == [0] and turns[1][0] == 0  # the beginnings of both
    assert 1 < max(map(len, turns)) <= 10  # segments last 10 to 20 s, and a turn has at most 5 of the same length


def test_a_crowd_of_short_recordings_does_not_keep_a_long_one_waiting(served, speech, utterances, monkeypatch):
    def slow(recognizer, pieces, size):
        time.sleep(0.05)
        return transcribe_pieces(recognizer, pieces, size)

    monkeypatch.setattr("rnnt.serve.file_engine.transcribe_pieces", slow)
    engine = FileEngine(Steering(served, Path("tiny")), Limits(gather_seconds=0.001), Metrics())
    short, long = (engine.grid.pieces(0, [samples]) for samples in (utterances[1], speech(130, 5)))

    async def ask():
        async def client():
            while not done.done():
                await engine.transcribe(short, {})

        done = asyncio.ensure_future(engine.transcribe(long, {}))
        await asyncio.wait_for(asyncio.gather(*(client() for _ in range(8)), done), 60)
        return done.result()

    try:
        assert asyncio.run(ask()).text == served.transcribe([speech(130, 5)])[0].text
    finally:
        engine.stop()
