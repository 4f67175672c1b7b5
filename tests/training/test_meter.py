"""The live line of a run: plain lines at intervals where there is no terminal, a bar where there is one."""

import pytest

from rnnt.training import meter as meters
from rnnt.training.meter import Meter


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(meters.time, "monotonic", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def test_without_a_terminal_lines_come_at_intervals(capsys, clock):
    with Meter(1000, 10) as meter:
        for _ in range(29):
            clock(1)
            meter.step("loss 2.0")
        clock(1)
        meter.step("loss 1.0")
    assert capsys.readouterr().err.splitlines() == [
        "loss 2.0, step 25/1000, 0:16:15 left",
        "loss 1.0, step 40/1000, 0:16:00 left",
    ]


def test_the_time_left_counts_from_where_the_run_was_resumed(capsys, clock):
    with Meter(100, 90) as meter:
        clock(3600)
        meter.step("on")
    assert "step 91/100, 9:00:00 left" in capsys.readouterr().err


def test_what_is_watched_passes_through_and_counts_as_no_step(capsys, clock):
    with Meter(100, 0) as meter:
        seen = []
        for item in meter.watch(range(40), 40, "validation"):
            clock(1)
            seen.append(item)
        clock(60)
        meter.step("loss 1.0")
    assert seen == list(range(40))
    assert capsys.readouterr().err.splitlines() == [
        "validation 15/40",
        "validation 30/40",
        "loss 1.0, step 1/100, 2:45:00 left",
    ]


def test_a_silent_one_shows_nothing(capsys, clock):
    with Meter(10, 0, silent=True) as meter:
        for _ in meter.watch(range(3), 3, "validation"):
            clock(100)
        clock(100)
        meter.step("loss")
        meter.say("done")
    assert capsys.readouterr().err == ""


def test_what_is_said_is_a_line_of_its_own(capsys):
    with Meter(10, 0) as meter:
        meter.say("target of [5] % reached")
    assert capsys.readouterr().err == "target of [5] % reached\n"


def test_in_a_terminal_there_is_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    with Meter(10, 2) as meter:
        meter.step("epoch 1, loss 2.500, 30 utt/s")
        meter.say("validation [1] done")
    shown = capsys.readouterr().err
    assert "epoch 1, loss 2.500, 30 utt/s" in shown and "3/10" in shown and "validation [1] done" in shown
