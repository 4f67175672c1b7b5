"""The live line of a run: plain lines at intervals if there is no terminal, a bar if there is one."""

import errno
import io

import pytest

import rnnt.progress
from rnnt.error_rate import Pair, word_error_rate
from rnnt.training.meter import Meter
from rnnt.training.position import Position
from rnnt.training.step import Outcome


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(rnnt.progress.time, "monotonic", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def step(meter, number, loss):
    meter.step(Position(step=number, epoch=2), Outcome(loss, 1.0, 0.01, "", False), 2.5, 30.4)


def test_without_a_terminal_lines_come_at_intervals(capsys, clock):
    meter = Meter()
    meter.run_start(Position(step=10), 1000)
    for number in range(11, 40):
        clock(1)
        step(meter, number, 2.0)
    clock(1)
    step(meter, 40, 1.0)
    meter.close()
    assert capsys.readouterr().err.splitlines() == [
        "epoch 3, loss 2.000, 30 utt/s: 25 of 1,000 steps, 1.0 steps/s, 0:16:15 left",
        "epoch 3, loss 1.000, 30 utt/s: 40 of 1,000 steps, 1.0 steps/s, 0:16:00 left",
    ]


def test_the_time_left_counts_from_where_the_run_was_resumed(capsys, clock):
    meter = Meter()
    meter.run_start(Position(step=90), 100)
    clock(3600)
    step(meter, 91, 2.0)
    assert "91 of 100 steps, 0.0 steps/s, 9:00:00 left" in capsys.readouterr().err


def test_validations_are_shown_and_count_as_no_step(capsys, clock):
    meter = Meter()
    meter.run_start(Position(), 100)
    for _ in range(2):
        for done in range(41):
            meter.validation_progress(done, 40)
            clock(1)
    rate = word_error_rate([Pair("u", "a b", "a c")])
    meter.validation_stop(Position(step=7, epoch=1), rate, 1.5)
    meter.validation_progress(0, 40)  # interrupted, nothing is shown
    clock(18)
    step(meter, 1, 2.0)
    meter.close()
    lines = capsys.readouterr().err.splitlines()
    shown = ["validation: 15 of 40 utt, 1.0 utt/s, 0:00:25 left", "validation: 30 of 40 utt, 1.0 utt/s, 0:00:10 left"]
    assert lines[:2] == shown and len(lines) == 7
    assert lines[5] == f"epoch 1, step 7: validation {rate}" and "WER 50.00 %" in lines[5]
    assert lines[6] == "epoch 3, loss 2.000, 30 utt/s: 1 of 100 steps, 0.0 steps/s, 2:45:00 left"


def test_a_note_is_a_line(capsys):
    meter = Meter()
    meter.note("target of [5] % reached")
    meter.close()
    assert capsys.readouterr().err == "target of [5] % reached\n"


def test_in_a_terminal_there_is_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    meter = Meter()
    meter.run_start(Position(step=2), 10)
    step(meter, 3, 2.5)
    meter.note("a note [1]")
    meter.validation_progress(1, 7)
    meter.validation_stop(Position(step=3, epoch=1), word_error_rate([Pair("u", "a", "a")]), 1.5)
    meter.close()
    shown = capsys.readouterr().err
    assert "epoch 3, loss 2.500, 30 utt/s" in shown and "3/10" in shown and "a note [1]" in shown
    assert "epoch 1, step 3: validation WER 0.00 %" in shown


class Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_run_goes_on_if_nothing_can_be_shown(clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", Full())
    meter = Meter()
    meter.run_start(Position(), 10)
    for number in range(1, 4):
        clock(100)
        step(meter, number, 2.0)
        meter.validation_progress(1, 2)
    meter.validation_stop(Position(), word_error_rate([Pair("u", "a", "a")]), 1.0)
    meter.note("a line")
    meter.close()
