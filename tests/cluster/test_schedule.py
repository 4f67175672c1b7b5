"""Portions -> rows while workers die: nothing is lost, nothing is there twice, and the rows are always the same.

A recording's path says what happens to those who work on it. Rows hold the recordings that were decoded together, so a
row tells if its portion was decoded in another company than in an undisturbed run.
"""

import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from rnnt.cluster.inputs import Portion, Recording

WINDOW = 3  # recordings of a window


def die(path, role, marks):
    """End this process if a recording's path says so: `reader-dies`, `actor-dies-once` and so on."""
    name = Path(path).name
    mark = Path(marks, f"{name}.{role}")
    if name.startswith(f"{role}-raises"):
        raise KeyError(f"{name} is odd")
    if name.startswith(f"{role}-dies") and not ("once" in name and mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def read(marks, recordings):
    for start in range(0, len(recordings), WINDOW):
        window = [recording.path for recording in recordings[start : start + WINDOW]]
        for path in window:
            die(path, "reader", marks)
        yield window


@dataclass(frozen=True)
class Work:
    marks: str

    @property
    def read(self):
        return partial(read, self.marks)

    def open(self):
        return self

    def decode(self, window):
        for path in window:
            with open(Path(self.marks, f"{Path(path).name}.decoded"), "a") as file:
                file.write("x")
            die(path, "actor", self.marks)
        return [(path, window) for path in window]

    def rows(self, recordings, results):
        company = dict(pair for window in results for pair in window)
        assert list(company) == [recording.path for recording in recordings]
        return [{"path": recording.path, "company": company[recording.path]} for recording in recordings]

    def error_row(self, recording, problem):
        return {"path": recording.path, "error": problem}


@pytest.fixture(scope="module")
def schedule(with_ray):
    """A function that runs portions of names and returns the rows of each, and the numbers of deaths."""
    with with_ray(sys.modules[__name__]):
        import ray

        from rnnt.cluster.pool import Pool
        from rnnt.cluster.schedule import Schedule

        def run(marks, *portions):
            given = [
                Portion(number, tuple(Recording(name, 1, 1) for name in names)) for number, names in enumerate(portions)
            ]
            work = Work(str(marks))
            pool = Pool(ray.put(work), gpus=False)
            plan = Schedule(work, pool)
            done = [(portion.number, rows) for portion, rows in plan.run(iter(given))]
            assert Counter(number for number, _ in done) == Counter(range(len(portions)))
            pool.close()
            return [rows for _, rows in sorted(done)], pool.deaths, plan.reader_deaths

        yield run


def together(*names):
    return [{"path": name, "company": list(names[i // WINDOW * WINDOW :][:WINDOW])} for i, name in enumerate(names)]


def test_rows_of_an_undisturbed_run(schedule, tmp_path):
    names = [[f"{portion}-{i}" for i in range(7)] for portion in range(9)]
    assert schedule(tmp_path, *names) == ([together(*each) for each in names], 0, 0)
    assert all(len(file.read_text()) == 1 for file in tmp_path.iterdir())  # nothing was done twice


def test_deaths_by_chance_change_nothing(schedule, tmp_path):
    first, second = ["a", "actor-dies-once", "b", "c"], ["d", "reader-dies-once", "e", "f"]
    assert schedule(tmp_path, first, second, ["g"]) == ([together(*first), together(*second), together("g")], 1, 1)


def test_recordings_that_end_their_workers_become_error_rows(schedule, tmp_path):
    portions = [
        ["a", "b", "actor-dies", "c", "d"],
        ["e"],
        ["reader-dies"],
        ["f", "actor-raises", "g"],
        ["reader-raises"],
    ]
    rows, *_ = schedule(tmp_path, *portions)
    errors = {
        "actor-dies": "ends every worker that decodes it",
        "reader-dies": "ends every worker that reads it",
        "actor-raises": "cannot be decoded (KeyError: 'actor-raises is odd')",
        "reader-raises": "cannot be decoded (KeyError: 'reader-raises is odd')",
    }
    for names, found in zip(portions, rows, strict=True):
        good = iter(together(*(name for name in names if name not in errors)))  # as if the bad ones were not there
        assert found == [{"path": x, "error": errors[x]} if x in errors else next(good) for x in names]


def test_a_reader_may_be_any_iterator():
    """Ray sends values to the generator of a task."""
    from rnnt.cluster.schedule import read_portion

    windows = read_portion(iter, ["a", "b"])
    assert [next(windows), windows.send("anything")] == ["a", "b"]
