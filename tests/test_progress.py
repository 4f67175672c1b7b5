"""Plain lines at intervals if there is no terminal, bars if there is one."""

import pytest
from rich.console import Console

import rnnt.progress
from rnnt.progress import Display, track


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when it is told to."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(rnnt.progress, "time", clock)
    return clock


def test_a_plain_line_now_and_then_without_a_terminal(clock, capsys):
    done = []
    for item in track(range(100), 100, "train"):
        done.append(item)
        clock.now += 0.5
    assert done == list(range(100))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "train: 20 of 100 utt, 2.0 utt/s, 0:00:40 left",
        "train: 40 of 100 utt, 2.0 utt/s, 0:00:30 left",
        "train: 60 of 100 utt, 2.0 utt/s, 0:00:20 left",
        "train: 80 of 100 utt, 2.0 utt/s, 0:00:10 left",
        "train: 100 of 100 utt, 2.0 utt/s",
    ]


def test_without_a_known_total(clock, capsys):
    for _ in track(iter("abcd"), None, "files", unit="file"):
        clock.now += 6
    assert capsys.readouterr().err.splitlines() == ["files: 2 file, 0.2 file/s", "files: 4 file, 0.2 file/s"]


def test_nothing_to_do(clock, capsys):
    assert list(track([], 0, "train")) == []
    assert capsys.readouterr().err == "train: 0 utt\n"


def test_work_done_before_counts_neither_for_the_rate_nor_the_time_left(clock, capsys):
    with Display() as display:
        task = display.task("train", 100, "steps", done=90)
        clock.now += 3600
        task.update(91, "loss 2.0")
        clock.now += 3600
        task.update(92)
        task.finish()
    assert capsys.readouterr().err.splitlines() == [
        "loss 2.0: 91 of 100 steps, 0.0 steps/s, 9:00:00 left",
        "loss 2.0: 92 of 100 steps, 0.0 steps/s, 8:00:00 left",
    ]


def test_two_tasks_and_a_note(clock, capsys):
    with Display(seconds=15) as display:
        steps = display.task("train", 1000, "steps")
        clock.now += 100
        valid = display.task("validation", 40, "utt")
        display.note("a note [with brackets]")
        for done in range(1, 41):
            clock.now += 1
            valid.update(done)
        valid.remove()
        steps.update(10)
    assert capsys.readouterr().err.splitlines() == [
        "a note [with brackets]",
        "validation: 15 of 40 utt, 1.0 utt/s, 0:00:25 left",
        "validation: 30 of 40 utt, 1.0 utt/s, 0:00:10 left",
        "train: 10 of 1,000 steps, 0.1 steps/s, 3:51:00 left",
    ]


def test_an_error_inside_the_loop_comes_through(capsys):
    with pytest.raises(KeyError):
        for item in track(range(3), 3, "train"):
            raise KeyError(item)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(rnnt.progress, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=100))


def test_a_bar_in_a_terminal(terminal, capsys):
    assert list(track(range(30), 30, "train", unit="shard")) == list(range(30))
    out, err = capsys.readouterr()
    assert out == ""
    assert "train" in err and "30/30" in err and "shard/s" in err


@pytest.mark.parametrize("removed", [False, True])
def test_bars_and_a_note_in_a_terminal(terminal, capsys, removed):
    with Display() as display:
        steps = display.task("train", 10, "steps", done=2)
        valid = display.task("validation", 7, "utt")
        steps.update(3, "loss 2.5")
        valid.update(5)
        display.note("a note [with brackets]")
        if removed:
            valid.remove()
    out, err = capsys.readouterr()
    last = err[err.rindex("loss 2.5") :]
    assert out == "" and "a note [with brackets]" in err
    assert "3/10" in last and ("5/7" in last) == ("validation" in last) == (not removed)
