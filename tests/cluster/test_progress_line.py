"""The line of a job: hours, rate, time left and errors."""

import pytest

from rnnt.cluster.inputs import Portion, Recording

ray = pytest.importorskip("ray", reason="needs ray[data]")


@pytest.fixture
def line(monkeypatch):
    from rnnt.cluster import progress_line

    class Metric:
        sums: dict = {}  # noqa: RUF012 - shared on purpose

        def __init__(self, name, description):
            self.name = name

        def inc(self, value):
            self.sums[self.name] = self.sums.get(self.name, 0) + value

        def set(self, value):
            self.sums[self.name] = value

    now = [100.0]
    monkeypatch.setattr(progress_line, "Counter", Metric)
    monkeypatch.setattr(progress_line, "Gauge", Metric)
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: now[0])
    Metric.sums.clear()
    return progress_line.ProgressLine(total=1000, before=200), now, Metric.sums


def row(hours, error=None):
    return {"transcribed": 3000.0 * hours, "left_out": 600.0 * hours, "error": error}


def test_hours_rate_time_left_and_errors(line, capsys):
    line, now, metrics = line
    line.add(Portion(0, (Recording("/a", 100, 1), Recording("/b", 100, 1))), [row(2), row(3, "why")])
    now[0] += 3600
    line.show(4, 1)
    assert capsys.readouterr().err == "5.00 hours in 1:00:00, 5.0 x real time, 3:00:00 left, 1 errors, 1 workers died\n"
    assert metrics == {
        "rnnt_hours_done": 5.0,
        "rnnt_recordings_done": 2,
        "rnnt_errors": 1,
        "rnnt_bytes_left": 600,
        "rnnt_workers": 4,
    }


def test_a_line_now_and_then(line, capsys):
    line, now, _ = line
    line.show(0, 0)
    line.show(2, 0)
    assert capsys.readouterr().err == "0.00 hours in 0:00:00, waiting for workers, 0 errors\n"
    now[0] += 11
    line.show(2, 0)
    line.show(2, 0, last=True)
    assert len(capsys.readouterr().err.splitlines()) == 2
