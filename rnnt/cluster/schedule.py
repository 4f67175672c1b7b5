"""Portions of recordings -> rows, even if readers, actors or machines die on the way.

A reader, a task of Ray, reads the recordings of a portion and yields windows of segments. Actors decode the windows,
those of one recording on several machines if it is long. This process only passes references on, and joins the results.

A window is given to a second actor if its first one dies, and a portion is read again if its reader dies. If that
happens twice, each recording of the portion is tried alone. One that ends its workers twice then becomes an error row,
and the others are decoded together once more: so their rows are those of a portion without that recording, no matter
who died when, to the last bit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, ObjectLostError, RayError, RayTaskError

from rnnt.cluster.inputs import Portion, Recording
from rnnt.cluster.pool import QUEUE, READING, Pool
from rnnt.text import reason

_DEATHS = 2  # of the workers of one window or one portion
_TOGETHER = 3  # times that a portion is tried before the rows of recordings alone are taken
_AHEAD = 2  # windows that a reader makes before they are wanted
_WAIT_SECONDS = 1.0
_MACHINE_DIED = (NodeDiedError, ObjectLostError)
_ACTOR_DIED = (ActorDiedError, ActorUnavailableError)


class Work(Protocol):
    """The steps of a job that depend on its task.

    read: a function that yields the windows of recordings, always the same ones. It runs in readers.
    """

    read: Callable[[Sequence[Recording]], Iterator[Any]]

    def open(self) -> Any:
        """Return an object with a method `decode`, which turns a window into its results. Runs in an actor."""

    def rows(self, recordings: Sequence[Recording], results: Sequence[Any]) -> list[dict]:
        """Return a row for each recording, given the results of all its windows. Runs in the driver."""

    def error_row(self, recording: Recording, problem: str) -> dict:
        """Return the row of a recording that has no result. Runs in the driver."""


@dataclass
class _Case:
    """A portion with all that is known about it. Numbers are places in its recordings."""

    portion: Portion
    failures: int = 0
    problems: dict[int, str] = field(default_factory=dict)  # of recordings that end their workers
    alone: dict[int, dict] = field(default_factory=dict)  # rows of recordings that were tried alone
    pending: set[int] = field(default_factory=set)  # recordings that are being tried alone

    def rest(self) -> list[int]:
        return [place for place in range(len(self.portion.recordings)) if place not in self.problems]


@dataclass(eq=False)
class _Job:
    """A portion, or one recording of it alone, that is being read and decoded."""

    case: _Case
    places: list[int]
    alone: bool
    reading: Any = None  # the windows to come; None at the end
    read: int = 0  # windows so far
    attempt: int = 0  # of reading
    crashes: int = 0  # of readers
    results: dict[int, Any] = field(default_factory=dict)  # by window
    waiting: set[int] = field(default_factory=set)  # windows that are not decoded yet
    dropped: bool = False

    @property
    def recordings(self) -> list[Recording]:
        return [self.case.portion.recordings[place] for place in self.places]


@dataclass(eq=False)
class _Window:
    job: _Job
    attempt: int  # of reading
    number: int
    content: Any  # reference
    deaths: int = 0


def read_portion(read: Callable[[Sequence[Recording]], Iterator[Any]], recordings: list[Recording]) -> Iterator[Any]:
    """Yield the windows of recordings. This is what a reader is."""
    for window in read(recordings):  # noqa: UP028  Ray sends values, which `yield from` gives to iterators that take none
        yield window


class Schedule:
    """Runs a job. work: what the workers do. tick: is called every second or so."""

    def __init__(self, work: Work, pool: Pool, tick: Callable[[], None] = lambda: None):
        self._work, self._read, self._pool, self._tick = work, ray.put(work.read), pool, tick
        self._reader = ray.remote(read_portion).options(
            num_cpus=READING, max_retries=0, num_returns="streaming", scheduling_strategy="SPREAD",
            _generator_backpressure_num_objects=_AHEAD,
        )  # fmt: skip
        self._jobs: list[_Job] = []  # that are being read or decoded
        self._next: deque[_Job] = deque()  # to be started before new portions
        self._again: deque[_Window] = deque()  # whose actor died
        self._given: dict[Any, _Window] = {}  # by the reference to the results
        self._finished: deque[tuple[Portion, list[dict]]] = deque()
        self.reader_deaths = 0

    def run(self, portions: Iterator[Portion]) -> Iterator[tuple[Portion, list[dict]]]:
        """Yield each portion with its rows, in the order in which they are finished."""
        portions = iter(portions)
        while True:
            self._pool.look()
            # Two for each actor, so that none waits for a reader. If actors have GPUs, each core reads.
            while len(self._jobs) < max(2 * self._pool.size, self._pool.cores, 1):
                job = self._next.popleft() if self._next else None
                if job is None and (portion := next(portions, None)) is not None:
                    job = _Job(_Case(portion), list(range(len(portion.recordings))), alone=False)
                if job is None:
                    break
                self._begin(job)
            if not self._jobs:
                return
            self._step()
            while self._finished:
                yield self._finished.popleft()
            self._tick()

    def _begin(self, job: _Job) -> None:
        if job not in self._jobs:
            self._jobs.append(job)
        job.reading = self._reader.remote(self._read, job.recordings)
        job.read, job.results, job.waiting = 0, {}, set()

    def _step(self) -> None:
        """Wait until something is ready, and deal with it."""
        while self._again and (actor := self._free()) is not None:
            self._give(self._again.popleft(), actor)
        jobs = sorted(self._jobs, key=lambda job: not job.alone)
        reading = {job.reading: job for job in jobs if job.reading is not None}
        awaited = [*self._pool.awaited, *(reading if self._free() is not None else ())]
        if not awaited:  # no machine has room for an actor yet
            time.sleep(_WAIT_SECONDS)
            return
        ready, _ = ray.wait(awaited, num_returns=1, timeout=_WAIT_SECONDS)
        if ready:  # and whatever else is
            ready, _ = ray.wait(awaited, num_returns=len(awaited), timeout=0)
        for reference in ready:
            if reference in reading:
                self._advance(reading[reference])
            elif reference in self._pool.awaited and not self._pool.began(reference):
                self._receive(reference)

    def _free(self) -> Any:
        """Return an actor for the next window; None if all have enough to do.

        While windows are under suspicion, an actor has one window at a time. Then it is certain whose fault its death
        is: the result of the window before may die with an actor.
        """
        careful = self._again or any(job.alone for job in self._jobs)
        return self._pool.free(1 if careful else QUEUE)

    def _advance(self, job: _Job) -> None:
        """Pass the next window of a job on, or note that there are no more."""
        actor = self._free()
        if job.dropped or job.reading is None or actor is None:
            return
        try:
            content = next(job.reading)
        except StopIteration:
            job.reading = None
            self._finish_if_done(job)
            return
        window = _Window(job, job.attempt, job.read, content)
        job.read += 1
        job.waiting.add(window.number)
        self._give(window, actor)

    def _give(self, window: _Window, actor: Any) -> None:
        if not self._current(window):
            return
        self._given[self._pool.give(actor, window.content)] = window

    def _current(self, window: _Window) -> bool:
        """Return whether the results of a window are still wanted: its portion is neither given up nor read again."""
        return not window.job.dropped and window.attempt == window.job.attempt

    def _receive(self, reference: Any) -> None:
        """Take the results of a window, or find out what went wrong."""
        try:
            result = ray.get(reference)
        except _ACTOR_DIED:
            self._lose(reference)
        except RayError as error:
            window, cause = self._given[reference], _cause(error)
            if isinstance(cause, RayError):
                self._given.pop(reference)
                self._pool.done(reference)
                self._read_again(window, cause)
            else:
                self._raised(reference, window, cause)
        else:
            self._pool.done(reference)
            self._take(self._given.pop(reference), result)

    def _lose(self, reference: Any) -> None:
        """Give the windows of a dead actor to others. Each of them may be what it died of."""
        for window in self._owed(reference):
            window.deaths += 1
            if window.deaths < _DEATHS:
                self._again.append(window)
            elif self._current(window):
                self._fail(window.job, "ends every worker that decodes it")

    def _raised(self, reference: Any, window: _Window, error: Exception) -> None:
        """Try the recordings of a window alone after an exception, without this actor: its GPU may be at fault."""
        self._again += [other for other in self._owed(reference) if other is not window]
        if self._current(window):
            self._fail(window.job, f"cannot be decoded ({type(error).__name__}: {reason(error)})")

    def _owed(self, reference: Any) -> list[_Window]:
        """Give an actor up. Take the results that it still delivered, and return its other windows."""
        windows = []
        for owed in self._pool.lost(reference):
            window = self._given.pop(owed)
            try:
                self._take(window, ray.get(owed, timeout=0))
            except RayError:
                windows.append(window)
        return windows

    def _read_again(self, window: _Window, error: RayError) -> None:
        """Read a portion again after its reader died, or what it had read was lost with a machine."""
        job = window.job
        if not self._current(window):
            return
        job.attempt += 1
        if not isinstance(error, _MACHINE_DIED):
            self.reader_deaths += 1
            job.crashes += 1
        if job.crashes < _DEATHS:
            self._begin(job)
        else:
            self._fail(job, "ends every worker that reads it")

    def _take(self, window: _Window, result: Any) -> None:
        if self._current(window):
            window.job.results[window.number] = result
            window.job.waiting.discard(window.number)
            self._finish_if_done(window.job)

    def _finish_if_done(self, job: _Job) -> None:
        if job.reading is not None or job.waiting:
            return
        case = job.case
        results = [job.results[number] for number in range(job.read)]
        rows = dict(zip(job.places, self._work.rows(job.recordings, results)))
        self._drop(job)
        if job.alone:
            case.alone |= rows
            self._tried(case, job.places[0])
        else:
            self._close(case, rows)

    def _fail(self, job: _Job, problem: str) -> None:
        """Try the recordings of a job alone, or note the problem of the one that was alone."""
        self._drop(job)
        case = job.case
        if job.alone:
            (place,) = job.places
            case.problems[place] = problem
            self._tried(case, place)
            return
        case.failures += 1
        case.pending = set(case.rest()) - case.alone.keys()
        if not case.pending:
            self._tried(case, None)
        self._next += [_Job(case, [place], alone=True) for place in sorted(case.pending)]

    def _tried(self, case: _Case, place: int | None) -> None:
        """Decode the recordings that end no worker together again, when all have been tried alone."""
        case.pending.discard(place)
        if case.pending:
            return
        rest = case.rest()
        if len(rest) <= 1 or case.failures >= _TOGETHER:
            self._close(case, {place: case.alone[place] for place in rest})
        else:
            self._next.appendleft(_Job(case, rest, alone=False))

    def _close(self, case: _Case, rows: dict[int, dict]) -> None:
        recordings = case.portion.recordings
        for place, problem in case.problems.items():
            rows[place] = self._work.error_row(recordings[place], problem)
        self._finished.append((case.portion, [rows[place] for place in range(len(recordings))]))

    def _drop(self, job: _Job) -> None:
        job.dropped = True
        self._jobs.remove(job)
        if job.reading is not None:
            ray.cancel(job.reading)
            job.reading = None


def _cause(error: BaseException) -> BaseException:
    """Return the exception that a task raised, or the error of Ray that kept it from its end."""
    while isinstance(error, RayTaskError) and error.cause is not None:
        error = error.cause
    return error
