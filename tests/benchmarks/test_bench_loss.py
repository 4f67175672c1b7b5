"""The numbers that bench_loss prints are what they are said to be."""

import argparse
import csv
import os
import sys
from pathlib import Path

import pytest
import torch

import rnnt

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
OPTIONS = argparse.Namespace(device="cpu", threads=1, seed=0, repeats=3, seconds=0.0)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import bench_loss

    return bench_loss


def _inputs(bench, kind, name="toy"):
    case = bench.case(name, 0, 0)
    return case, bench.make_inputs(case, kind, torch.float32, "cpu")


def test_the_oracle_is_the_loss_and_its_gradients(bench, tmp_path):
    case, x = _inputs(bench, "random")
    facts = bench.write_oracle(case, "random", torch.float32, OPTIONS, tmp_path / "oracle.pt")
    oracle = torch.load(tmp_path / "oracle.pt", weights_only=True)
    learned = [y.detach().double().requires_grad_() for y in x.learned]
    settings = {"reduction": "sum", "implementation": "reference"}
    loss = rnnt.transducer_loss(*learned, x.targets, x.encoder_lengths, x.target_lengths, **settings)
    torch.testing.assert_close(oracle["loss"], loss.item())
    for name, gradient in zip(bench.LEARNED, torch.autograd.grad(loss, learned)):
        torch.testing.assert_close(oracle[name], gradient)
    assert facts["nats_per_label"] == pytest.approx(loss.item() / 6)


def test_errors_tell_exact_from_wrong(bench, tmp_path, monkeypatch):
    case, _ = _inputs(bench, "random")
    bench.write_oracle(case, "random", torch.float32, OPTIONS, tmp_path / "oracle.pt")
    monkeypatch.setitem(bench.IMPLEMENTATIONS, "twice", lambda x: 2 * bench.IMPLEMENTATIONS["fused"](x))
    results = [
        bench.measure(case, "random", torch.float32, OPTIONS, name, tmp_path / "oracle.pt")
        for name in ("fused", "twice")
    ]
    for key in ("loss_error", "encoder_error", "predictor_error", "weight_error", "bias_error"):
        assert results[0][key] < 1e-5
        assert results[1][key] == pytest.approx(1, abs=1e-4)
    assert results[0]["min_ms"] <= results[0]["median_ms"] <= results[0]["max_ms"]


def test_trained_inputs_have_a_trained_models_loss_and_a_thin_band(bench, tmp_path):
    sizes = ((60, 12), (45, 10), (80, 20))
    case = bench.Case("small", sizes, 500, 512)
    facts = {
        kind: bench.write_oracle(case, kind, torch.float32, OPTIONS, tmp_path / "oracle.pt")
        for kind in ("random", "trained")
    }
    assert 0.05 < facts["trained"]["nats_per_label"] < 0.5 < facts["random"]["nats_per_label"]
    assert facts["trained"]["visited"] < 0.3 < facts["random"]["visited"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_extra_memory_is_the_peak_above_what_was_there(bench):
    with bench._ExtraMemory("cpu") as memory:
        torch.ones(64 * 2**20, dtype=torch.uint8)
        torch.ones(16 * 2**20, dtype=torch.uint8)
    assert 60 < memory.mib < 72


def test_the_shapes_of_librispeech_are_within_the_longest(bench, shared_data):
    case = bench.case("mlperf", 64, 0)
    assert case == bench.case("mlperf", 64, 0) != bench.case("mlperf", 64, 1)
    assert max(t for t, _ in case.lengths) <= 279
    assert 10 < sum(u for _, u in case.lengths) / 64 < 100


def test_rows_are_appended_and_new_columns_added(bench, tmp_path):
    from results import append_rows

    append_rows("x", [{"case": "a", "ms": 1.23456}], folder=tmp_path)
    path = append_rows("x", [{"case": "b", "note": "died, alas"}], folder=tmp_path)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["ms"], row["note"]) for row in rows] == [("a", "1.235", ""), ("b", "", "died, alas")]
    assert all(row["torch"] == torch.__version__ and row["date"] for row in rows)


def test_the_script_prints_a_table_and_a_note_for_what_failed(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "_in_new_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(bench, "_missing_memory", lambda case, name, device: "not run" if name == "dense" else "")
    arguments = [
        "--quick",
        "--inputs",
        "random",
        "--repeats",
        "3",
        "--seconds",
        "0",
        "--threads",
        "1",
        "--implementations",
        "fused",
        "dense",
    ]
    monkeypatch.setattr(sys, "argv", ["bench_loss.py", *arguments])
    bench.main()
    out = capsys.readouterr().out
    assert "61 valid nodes of 108" in out
    assert "│ products" in out
    assert "│ fused" in out
    assert "dense: not run" in out


def test_a_process_that_dies_is_a_note(bench):
    assert bench._in_new_process(os._exit, 1) == {"note": "the process died"}
    assert bench._in_new_process(int, "x")["note"].startswith("ValueError: invalid literal")
