"""Streams that come and go leave nothing: neither in Python nor in tensors, whether they are finished or left."""

import gc
import tracemalloc

import numpy as np
import pytest
import torch

from rnnt.live import accept_together, finish_together


@pytest.fixture(scope="module")
def model(make):
    recognizer = make(blank=-2.0, features={"normalization": "running"})
    recognizer.features.mean.fill_(-7.0)
    recognizer.features.std.fill_(3.0)
    return recognizer


def tensors():
    """The number of tensors, and the bytes that they hold."""
    gc.collect()
    found = [item for item in gc.get_objects() if issubclass(type(item), torch.Tensor)]
    return len(found), sum(tensor.untyped_storage().nbytes() for tensor in found)


def visit(model, speech, rng, clients):
    """Clients that speak together. One in three leaves in the middle of a word, the others finish."""
    streams = [model.stream() for _ in range(clients)]
    audio = [speech(rng.uniform(0.2, 1.5), int(rng.integers(1000))) for _ in streams]
    for chunks in zip(*(np.array_split(samples, 5) for samples in audio)):
        accept_together(streams, chunks)
        for stream in streams:
            assert stream.partial.seconds > 0
    finish_together(streams[clients // 3 :])


def test_streams_that_come_and_go_leave_nothing(model, speech):
    rng = np.random.default_rng(0)
    for _ in range(3):  # caches fill
        visit(model, speech, rng, 6)
    before = tensors()
    tracemalloc.start()
    try:
        visit(model, speech, rng, 6)
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        for _ in range(6):
            visit(model, speech, rng, 6)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tensors() == before
    assert after - used < 40_000  # 36 streams; one that stays would hold more than a thousandth of its audio


def test_a_finished_stream_holds_its_transcript_alone(model, speech):
    before = tensors()
    streams = [model.stream() for _ in range(4)]
    accept_together(streams, [speech(2, seed) for seed in range(4)])
    assert tensors()[0] > before[0]
    transcripts = finish_together(streams)
    assert sum(len(transcript.tokens) for transcript in transcripts) > 20
    assert tensors() == before
