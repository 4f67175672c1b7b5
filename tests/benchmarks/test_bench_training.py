"""The figures that bench_training prints are what they are said to be."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rnnt.dataset import Dataset
from rnnt.model import Transducer
from rnnt.settings import from_tree

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
TINY = ("model.encoder.hidden=24", "model.predictor.hidden=16", "model.predictor.embedding=8", "model.joint.hidden=12")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def _config():
    model = {
        "encoder": {"hidden": 24, "dropout": 0.0},
        "predictor": {"embedding": 8, "hidden": 16, "dropout": 0.0},
        "joint": {"hidden": 12, "dropout": 0.0},
    }
    return from_tree({"model": model}, "test")


def test_operations_are_those_that_torch_counts():
    from plain_model import PlainTransducer
    from training_case import model_flops

    config, frames, tokens = _config(), 60, 5
    model = PlainTransducer(Transducer(240, 11, config.model))
    x = torch.randn(1, frames, 240, requires_grad=True)
    counts = []
    # Without oneDNN, whose LSTM torch does not count, its matrix products are seen one by one.
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        encoder, lengths = model.encoder(x, torch.tensor([frames]))
        loss = model.loss(encoder, lengths, torch.zeros(1, tokens, dtype=torch.int64), torch.tensor([tokens]))
        counts.append(counter.get_total_flops())
        loss.sum().backward()
        counts.append(counter.get_total_flops())
    expected = model_flops(config, 11, frames * 0.03, tokens)
    assert counts[0] == pytest.approx(expected / 3, rel=1e-9)
    assert counts[1] == pytest.approx(expected, rel=0.03)  # nothing goes back from a first frame to one before it


def test_the_plain_model_has_our_loss_whatever_the_padding():
    from plain_model import PlainTransducer

    torch.manual_seed(0)
    ours = Transducer(240, 11, _config().model)
    plain = PlainTransducer(ours)
    x, targets = torch.randn(3, 23, 240), torch.randint(0, 10, (3, 4))
    batch = torch.tensor([23, 8, 15]), targets, torch.tensor([4, 0, 2])
    encoder, lengths = plain.encoder(x, batch[0])
    torch.testing.assert_close(plain.loss(encoder, lengths, *batch[1:]), ours(x, *batch))


def test_a_made_up_split_has_the_wanted_lengths_and_tokens(tmp_path):
    from training_case import Lengths, make_split, symbols

    lengths, tokenizer = [Lengths(0.5, 3), Lengths(2.25, 0), Lengths(1.0, 40)], symbols(_config())
    make_split(tmp_path / "split", lengths, 16000, tokenizer)
    data = Dataset(tmp_path / "split")
    assert data.lengths.tolist() == [8000, 36000, 16000]
    assert [len(tokenizer.encode(text)) for text in data.texts()] == [3, 0, 40]
    assert len(tokenizer) == 1023


def test_lengths_are_those_that_the_preset_admits(shared_data):
    from training_case import librispeech_lengths

    config = from_tree({"data": {"max_seconds": 8.0}, "tokenizer": {"kind": "characters"}}, "test")
    lengths = librispeech_lengths(500, config, 0)
    assert 20 < len(lengths) < 250
    assert max(x.seconds for x in lengths) <= 8
    assert all(abs(x.tokens / x.seconds - 15) < 1 for x in lengths)


def test_the_table_has_both_arrangements_and_their_one_loss(monkeypatch, capsys):
    import bench_training
    from training_worker import STAGES, work

    results = []

    def measure(task, options):
        results.append(work(task))
        return results[-1]

    monkeypatch.setattr(bench_training, "_measure", measure)
    arguments = ["--device", "cpu", "--batch", "4", "--accumulation", "2", "--seconds", "1", "--tokens", "3"]
    arguments += ["--steps", "2", "--warmup", "1", "--threads", "1", *TINY]
    monkeypatch.setattr(sys, "argv", ["bench_training.py", *arguments])
    bench_training.main()
    ours, plain = results
    assert ours["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    for row in results:
        assert row["steps"] == 2
        assert row["audio_s_per_s"] == pytest.approx(row["utterances_per_s"])
        assert row["min_s"] <= row["median_s"] <= row["max_s"]
        assert all(row[f"{stage} s"] > 0 for stage in STAGES)
    out = " ".join(capsys.readouterr().out.split())
    assert "batch 4, accumulation 2, 1 s and 3 tokens" in out
    assert "│ plain (" in out
    assert "relative difference of the two losses: " in out


def test_a_worker_that_fails_is_a_note(tmp_path, monkeypatch):
    import argparse

    import bench_training

    monkeypatch.setattr(bench_training, "WORKER", tmp_path / "absent.py")
    options = argparse.Namespace(processes=1, threads=1)
    note = bench_training._measure({"result": str(tmp_path / "result.json")}, options)["note"]
    assert note.startswith("ended with exit code 2:")
    assert "absent.py" in note
