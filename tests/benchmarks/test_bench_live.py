"""bench_live starts the server, and its clients play whole streams and send whole files."""

import asyncio

import bench_live
import numpy as np
import pytest
import soundfile
from memory import status_kib
from speaking_model import random_recognizer

PRESET = ["demo-live", ["model.encoder.lstm.hidden=32", "model.joint.hidden=32"]]


@pytest.fixture(scope="module")
def recognizer(utterances):
    return random_recognizer(PRESET[0], utterances, PRESET[1])


def test_streams_are_whole_utterances_of_at_least_a_length(utterances):
    streams = bench_live.streams_of(utterances, 40000)
    for samples in (next(streams) for _ in range(20)):
        assert 40000 <= len(samples) < 40000 + max(map(len, utterances))


def test_the_server_is_measured(recognizer, speech, tmp_path):
    recognizer.save(tmp_path / "model")
    inputs = [speech(0.6, seed) for seed in range(3)]
    files = [tmp_path / f"{number}.wav" for number in range(len(inputs))]
    for file, samples in zip(files, inputs):
        soundfile.write(file, samples, 16000)
    with bench_live.serving(tmp_path / "model") as (address, pid):
        latency, late, words = asyncio.run(bench_live.play(address, np.concatenate(inputs), 16000))
        assert 0 < latency < 30 and len(late) == 30 and min(late) >= 0
        (expected,) = recognizer.transcribe([np.concatenate(inputs)])
        assert words == len(expected.text.split())
        row = asyncio.run(bench_live.crowd(address, 2, 1.0, inputs, 16000, 0.5))
        assert row["finished"] >= 2 and 0 < row["median_ms"] <= row["p95_ms"] <= row["max_ms"]
        assert status_kib("VmRSS", pid) > 50 * 1024
        row = bench_live.compare_files(address, recognizer, files, 1)
        assert row["files"] == 3 and row["of_plain"] > 0
