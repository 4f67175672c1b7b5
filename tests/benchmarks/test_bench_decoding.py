"""The model of bench_decoding emits at the marked frames, its loop is greedy search, and its ratios match its clock."""

import bench_decoding
import pytest
import torch

from rnnt.config import DecodingConfig
from rnnt.model import Transducer
from rnnt.settings import load_config

SIZES = ["model.encoder.lstm.hidden=24", "model.predictor.hidden=16", "model.predictor.embedding=8"]
CONFIG = load_config("librispeech-mlperf", [*SIZES, "model.joint.hidden=12"])


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Transducer(240, 11, CONFIG.model).eval()
    bench_decoding.speak(model)
    return model


@pytest.mark.parametrize("fast_step", [False, True])
def test_each_marked_frame_emits_one_symbol_of_its_kind(model, fast_step):
    frames_BTD = bench_decoding.frames(3, 40, 7, model.encoder.width, "cpu")
    marks = frames_BTD[:, :, 0]
    assert (marks != 0).sum(1).tolist() == [7, 7, 7]
    found = bench_decoding.loop(model, frames_BTD, CONFIG.decoding, fast_step)
    for tokens, row in zip(found, marks):
        kinds = [mark > 0 for mark in row.tolist() if mark]
        assert kinds == [True, False, True, False, True, False, True]
        assert [token % 2 == 0 for token in tokens] == kinds


def test_the_loop_stops_at_both_limits(model):
    frames_BTD = bench_decoding.frames(1, 40, 7, model.encoder.width, "cpu")
    tokens = bench_decoding.loop(model, frames_BTD, CONFIG.decoding, True)[0]
    assert bench_decoding.loop(model, frames_BTD, DecodingConfig(max_symbols=3), True)[0] == tokens[:3]
    with torch.no_grad():
        model.joint.output.bias[-1] = -1e4  # never blank
    greedy = bench_decoding.loop(model, frames_BTD, DecodingConfig(max_symbols_per_frame=2), False)[0]
    assert len(greedy) == 80


def test_times_are_those_of_the_clock_and_the_first_turn_does_not_count(monkeypatch):
    now = 0.0
    cost = {"a": iter([100.0, 1.0, 2.0]), "b": iter([100.0, 3.0, 5.0])}
    order = []

    def call(name):
        nonlocal now
        now += next(cost[name])
        order.append(name)

    monkeypatch.setattr(bench_decoding.time, "perf_counter", lambda: now)
    calls = {name: lambda name=name: call(name) for name in cost}
    assert bench_decoding.alternate(calls, 2, "cpu") == {"a": [1.0, 2.0], "b": [3.0, 5.0]}
    assert order == ["a", "b"] * 3


def test_ratios_are_to_the_loop_and_to_the_encoder(model, monkeypatch):
    times = {"loop": [8.0, 6.0, 7.0], "loop, fast step": [3.5] * 3, "greedy": [1.0, 3.0, 2.0], "encoder": [4.0] * 3}
    monkeypatch.setattr(bench_decoding, "alternate", lambda calls, repeats, device: times)
    monkeypatch.setattr(bench_decoding, "language_model", lambda symbols, device: None)  # the calls are not made
    rows = bench_decoding.measure(model, CONFIG, 2, 1.5, 3, "cpu")
    assert [row["measured"] for row in rows] == list(times)
    assert {row["symbols"] for row in rows} == {round(1.5 * bench_decoding.RATE)}
    assert [row["median_ms"] for row in rows] == [7000, 3500, 2000, 4000]
    assert [row["times_loop"] for row in rows] == [1, 2, 3.5, 1.75]
    assert [row["of_encoder"] for row in rows] == [1.75, 0.875, 0.5, 1]
    assert (rows[2]["min_ms"], rows[2]["max_ms"]) == (1000, 3000)
