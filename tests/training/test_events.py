"""The log: valid JSON whatever the numbers, resumption, a full disk."""

import errno
import json
import math
import threading
import time
import warnings
from contextlib import closing

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rnnt.config import ScoringConfig
from rnnt.error_rate import Pair, score_pairs, word_error_rate
from rnnt.measure import measure_of
from rnnt.training.events import Events
from rnnt.training.position import Position
from rnnt.training.step import Outcome


def lines(folder):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    text = (folder / "metrics.jsonl").read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.fixture
def board_off(monkeypatch):
    monkeypatch.setattr(Events, "_write_board", lambda *_: None)


def test_values_of_all_kinds(tmp_path, board_off):
    with closing(Events(tmp_path / "new" / "run")) as events:
        events.log(
            step=torch.tensor(3), loss=torch.tensor(0.5), rate=np.float32(0.25), n=np.int64(2), name="ä\n", ok=True
        )
        events.log(
            step=4, loss=float("nan"), grad=float("-inf"), ids=["a", "\udc80"], losses=[1.0, float("inf")], x=None
        )
    assert lines(tmp_path / "new" / "run") == [
        {"step": 3, "loss": 0.5, "rate": 0.25, "n": 2, "name": "ä\n", "ok": True},
        {"step": 4, "loss": None, "grad": None, "ids": ["a", "\udc80"], "losses": [1.0, None], "x": None},
    ]


def test_steps_and_validations_are_rows(tmp_path, board_off):
    events = Events(tmp_path)
    events.step(Position(step=3, epoch=1), Outcome(0.5, 2.0, 0.01, "", False), 1.28571, 12.345)
    events.step(Position(step=4, epoch=1), Outcome(math.inf, 2.0, 0.01, "why", False), 1.5, 9.0)
    events.validation_stop(Position(step=4, epoch=2), word_error_rate([Pair("u", "a b", "a c")]), 1.25)
    rows = lines(tmp_path)
    assert all(abs(row.pop("time") - time.time()) < 100 for row in rows)
    assert rows == [
        {"step": 3, "epoch": 1.2857, "loss": 0.5, "lr": 0.01, "grad_norm": 2.0, "utterances_per_second": 12.3},
        {
            "step": 4, "epoch": 1.5, "loss": None, "lr": 0.01, "grad_norm": 2.0, "utterances_per_second": 9.0,
            "skipped": "why",
        },
        {"step": 4, "epoch": 2, "valid_wer": 0.5, "valid_loss": 1.25},
    ]  # fmt: skip


@pytest.mark.parametrize(("measure", "name"), [("words", "wer"), ("symbols", "per"), ("sequences", "wer")])
def test_the_rate_of_a_validation_has_the_name_of_its_measure(tmp_path, board_off, measure, name):
    events, unit = Events(tmp_path), measure_of(ScoringConfig(measure=measure)).first
    events.validation_stop(Position(step=4), score_pairs([Pair("u", "a b", "a b")], unit), 1.25)
    events.close()
    assert lines(tmp_path)[0][f"valid_{name}"] == 0


def test_lines_are_in_the_file_at_once(tmp_path, board_off):
    events = Events(tmp_path)
    events.log(step=1, loss=1.0)
    assert lines(tmp_path) == [{"step": 1, "loss": 1.0}]
    events.close()
    events.close()


def write(folder, first, last, resume_step=None):
    with closing(Events(folder, resume_step)) as events:
        for step in range(first, last + 1):
            events.log(step=step, loss=1 / step)
            if step % 3 == 0:
                events.log(step=step, wer=step / 100)  # a second line of the same step


@pytest.mark.parametrize("tail", [b"", b"\n", b'{"step": 9, "lo', b'{"step": 4, "loss": 1.0}', b"[1]\n7\n", b"\0\0\0"])
@pytest.mark.parametrize("resume_step", [0, 4, 6, 7, 8])
def test_resumed_log_equals_an_undisturbed_one(tmp_path, board_off, tail, resume_step):
    write(tmp_path / "whole", 1, 12)
    write(tmp_path / "killed", 1, 8)
    with open(tmp_path / "killed" / "metrics.jsonl", "ab") as file:
        file.write(tail)
    write(tmp_path / "killed", resume_step + 1, 12, resume_step)
    assert (tmp_path / "killed" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_a_truncated_last_line_of_the_resumed_step_is_dropped(tmp_path, board_off):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 2, "loss": 1.0}')  # whole but for its line end
    Events(tmp_path, 2).close()
    assert lines(tmp_path) == [{"step": 1}]


def test_resuming_without_a_log_starts_one(tmp_path, board_off):
    write(tmp_path, 6, 7, resume_step=5)
    assert [line["step"] for line in lines(tmp_path)] == [6, 6, 7]


def test_a_new_run_starts_a_new_log(tmp_path, board_off):
    write(tmp_path, 1, 5)
    write(tmp_path, 1, 2)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_a_full_disk_warns_once_and_leaves_whole_lines(tmp_path, board_off, nearly_full):
    events = Events(tmp_path)
    events.log(step=1, loss=1.0)
    disk = nearly_full(events._file, 10)
    with pytest.warns(UserWarning, match="cannot write the log") as caught:
        for step in (2, 3, 4):
            events.log(step=step, loss=1.0)
    assert len(caught) == 1
    disk.room = 1000
    events.log(step=5, loss=1.0)
    events.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 5]


def scalars(folder):
    accumulator = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def test_tensorboard_has_the_numbers_and_forgets_what_a_resumed_run_repeats(tmp_path):
    write(tmp_path, 1, 5)
    write(tmp_path, 4, 6, resume_step=3)
    found = scalars(tmp_path)
    assert set(found) == {"loss", "wer"}
    assert found["loss"] == [(step, pytest.approx(1 / step)) for step in range(1, 7)]
    assert [step for step, _ in found["wer"]] == [3, 6]


def test_tensorboard_failing_does_not_stop_the_log(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    with closing(Events(tmp_path)) as events:
        with pytest.warns(UserWarning, match="training goes on"):
            events.log(step=1, loss=1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            events.log(step=2, loss=1.0)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_tensorboards_thread_prints_no_traceback_on_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
    shown = []
    monkeypatch.setattr(threading, "excepthook", hook := shown.append)
    events = Events(tmp_path)
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        for step in range(1, 40):
            events.log(step=step, loss=1.0)
        events.close()
    assert len(caught) == 1 and shown == []
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 40)) and threading.excepthook is hook


def test_errors_of_other_threads_are_shown_while_a_log_is_open(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    with closing(Events(tmp_path)) as events:
        events.log(step=1, loss=1.0)
        thread = threading.Thread(target=open, args=(tmp_path / "missing",))
        thread.start()
        thread.join()
    assert [failure.exc_type for failure in seen] == [FileNotFoundError]
