"""The benchmark of a busy machine does real work, keeps cores busy, and runs as a whole."""

import sys
import time

import bench_busy
import pytest
import torch
from bench_busy import hogs, measure, rate, training, transcription


@pytest.fixture(autouse=True)
def free(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_piece_of_training_takes_a_batch_and_changes_the_weights(tmp_path, monkeypatch):
    seen = []
    take = bench_busy.Stepper.take

    def watched(stepper, shares, *rest):
        outcome = take(stepper, shares, *rest)
        weights = next(stepper.model.parameters()).detach()
        seen.append((sum(len(batch) for _, batch in shares), outcome.problem, weights.sum()))
        return outcome

    monkeypatch.setattr(bench_busy.Stepper, "take", watched)
    work = training("demo", 2, 0.5, tmp_path)
    assert [work() for _ in range(6)] == [2] * 6  # more than an epoch
    assert [count for count, _, _ in seen] == [2] * 6 and not any(problem for _, problem, _ in seen)
    assert len({float(total) for _, _, total in seen}) == 6


def test_a_piece_of_transcription_takes_all_utterances(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_busy, "TRANSCRIBED", 3)
    assert transcription(tmp_path)() == 3


def test_hogs_are_processes_that_end_with_the_block(monkeypatch):
    with hogs(2):
        children = bench_busy.multiprocessing.active_children()
        assert len(children) == 2 and all(child.is_alive() for child in children)
    assert not any(child.is_alive() for child in children)


def test_the_rate_is_that_of_the_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def work():
        now[0] += 0.5
        return 3

    assert rate(work, 2.0, adapted=False) == 6.0


def test_rows_compare_with_the_quiet_machine_and_fixed_threads(monkeypatch):
    found = iter([10.0, 9.0, 2.0, 6.0])
    monkeypatch.setattr(bench_busy, "rate", lambda work, seconds, adapted: next(found))
    rows = measure(lambda: 1, 1.0, 1, 0)
    assert [(row["machine"], row["threads"], row["of_quiet"]) for row in rows] == [
        ("quiet", "fixed", 1.0), ("quiet", "adapted", 0.9), ("busy", "fixed", 0.2), ("busy", "adapted", 0.6),
    ]  # fmt: skip


def test_the_script_runs(monkeypatch, capsys):
    options = ["--seconds", "0.1", "--repeats", "1", "--work", "transcribe", "--hogs", "0"]
    monkeypatch.setattr(bench_busy, "TRANSCRIBED", 2)
    monkeypatch.setattr(sys, "argv", ["bench_busy.py", *options])
    bench_busy.main()
    assert capsys.readouterr().out.count("busy") == 2
