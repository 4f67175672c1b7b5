"""The figures that bench_training prints are those of the steps that were taken, and a failed worker is a note."""

import argparse
import sys

import bench_training
import pytest
from training_worker import STAGES, work

TINY = (
    "model.encoder.lstm.hidden=24", "model.predictor.hidden=16", "model.predictor.embedding=8", "model.joint.hidden=12",
)  # fmt: skip


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench_training.py", "--device", "cpu", "--threads", "1", *arguments, *TINY])
    bench_training.main()


def test_the_tables_have_both_implementations_and_their_one_loss(monkeypatch, capsys):
    results = []

    def measure(task, options):
        results.append(work(task))
        return results[-1]

    monkeypatch.setattr(bench_training, "_measure", measure)
    arguments = "--batch 4 --accumulation 2 --seconds 1 --tokens 3 --steps 2 --warmup 1"
    run(monkeypatch, *arguments.split())
    ours, plain = results
    assert ours["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    for row in results:
        assert row["steps"] == 2
        assert row["audio_s_per_s"] == pytest.approx(row["utterances_per_s"])  # each utterance is a second long
        assert row["min_s"] <= row["median_s"] <= row["max_s"]
        assert all(row[f"{stage} s"] > 0 for stage in STAGES)
    out = " ".join(capsys.readouterr().out.split())
    assert "batch 4, accumulation 2, 1 s and 3 tokens" in out
    assert "│ plain (" in out
    assert "relative difference of the two losses: " in out


def test_a_length_that_the_preset_does_not_admit_is_refused(monkeypatch):
    with pytest.raises(
        SystemExit, match=r"--seconds 100 must lie between data\.min_seconds=0\.1 and data\.max_seconds"
    ):
        run(monkeypatch, "--seconds", "100")


def test_a_worker_that_fails_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_training, "WORKER", tmp_path / "absent.py")
    options = argparse.Namespace(processes=1, threads=1)
    note = bench_training._measure({"result": str(tmp_path / "result.json")}, options)["note"]
    assert note.startswith("ended with exit code 2:")
    assert "absent.py" in note
