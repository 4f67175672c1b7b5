"""The numbers that bench_loss prints are right, and one failure does not end it."""

import os
import sys

import bench_loss
import pytest
import torch
from loss_implementations import IMPLEMENTATIONS
from loss_inputs import case, make_inputs

import rnnt

TOY = case("toy", 0, 0)


def test_the_oracle_is_the_loss_and_its_gradients(loss_options, tmp_path):
    facts = bench_loss.write_oracle(TOY, "random", torch.float32, loss_options, tmp_path / "oracle.pt")
    oracle = torch.load(tmp_path / "oracle.pt", weights_only=True)
    x = make_inputs(TOY, "random", torch.float32, "cpu")
    learned = [y.detach().double().requires_grad_() for y in x.learned]
    settings = {"reduction": "sum", "implementation": "reference"}
    loss = rnnt.transducer_loss(*learned, x.targets, x.encoder_lengths, x.target_lengths, **settings)
    torch.testing.assert_close(oracle["loss"], loss.item())
    for name, gradient in zip(bench_loss.LEARNED, torch.autograd.grad(loss, learned)):
        torch.testing.assert_close(oracle[name], gradient)
    assert facts["nats_per_label"] == pytest.approx(loss.item() / 6)


def test_the_errors_of_exact_losses_are_small_and_those_of_wrong_ones_are_not(loss_options, tmp_path, monkeypatch):
    oracle = tmp_path / "oracle.pt"
    bench_loss.write_oracle(TOY, "random", torch.float32, loss_options, oracle)
    monkeypatch.setitem(IMPLEMENTATIONS, "twice", lambda x: 2 * IMPLEMENTATIONS["fused"](x))
    fused, twice = (
        bench_loss.measure(TOY, "random", torch.float32, loss_options, name, oracle) for name in ("fused", "twice")
    )
    for key in ("loss_error", "encoder_error", "predictor_error", "weight_error", "bias_error"):
        assert fused[key] < 1e-5
        assert twice[key] == pytest.approx(1, abs=1e-4)
    assert fused["min_ms"] <= fused["median_ms"] <= fused["max_ms"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_extra_memory_is_the_peak_minus_the_memory_held_before(pages):
    with bench_loss._ExtraMemory("cpu") as memory:
        pages(64).close()
        pages(16).close()
    assert 60 < memory.mib < 72


@pytest.mark.skipif(sys.platform != "linux", reason="free memory is read from /proc")
def test_stored_logits_that_do_not_fit_the_memory_are_not_tried():
    huge = bench_loss.Case("huge", ((100_000, 10_000),), 1024)
    assert bench_loss._missing_memory(huge, "dense", "cpu").startswith("not run: may need 19075 GiB")
    assert bench_loss._missing_memory(huge, "fused", "cpu") == bench_loss._missing_memory(TOY, "dense", "cpu") == ""


def test_the_script_prints_a_table_and_notes_what_failed(monkeypatch, capsys):
    monkeypatch.setattr(bench_loss, "_in_new_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(bench_loss, "_missing_memory", lambda shape, name, device: "not run" if name == "dense" else "")
    arguments = "--quick --inputs random --repeats 3 --seconds 0 --threads 1 --implementations fused dense"
    monkeypatch.setattr(sys, "argv", ["bench_loss.py", *arguments.split()])
    bench_loss.main()
    out = capsys.readouterr().out
    assert "61 valid nodes of 108" in out
    assert "│ products" in out
    assert "│ fused" in out
    assert "dense: not run" in out


def test_a_process_that_fails_or_dies_is_a_note():
    assert bench_loss._in_new_process(os._exit, 1) == {"note": "the process died"}
    assert bench_loss._in_new_process(int, "x")["note"].startswith("ValueError: invalid literal")
