import pytest
from rich.console import Console

import rnnt.progress
from rnnt.progress import track


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


def test_an_error_inside_the_loop_comes_through(capsys):
    with pytest.raises(KeyError):
        for item in track(range(3), 3, "train"):
            raise KeyError(item)


def test_a_bar_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(rnnt.progress, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=100))
    assert list(track(range(30), 30, "train", unit="shard")) == list(range(30))
    out, err = capsys.readouterr()
    assert out == ""
    assert "train" in err and "30/30" in err and "shard/s" in err
