"""Progress of long work, on standard error: bars in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as Bar

from rnnt.text import clock

T = TypeVar("T")

PLAIN_SECONDS = 10.0  # between two plain lines


def track(iterable: Iterable[T], total: int | None, description: str, unit: str = "utt") -> Iterator[T]:
    """Yield from `iterable` and show how many of `total` are done, the rate per second and the time left."""
    with Display() as display:
        task = display.task(description, total, unit)
        for done, item in enumerate(iterable, 1):
            yield item
            task.update(done)
        task.finish()


class Display:
    """Shows tasks and lines of text. Use it as a context manager, or call close() at the end.

    seconds: least time between two plain lines of a task.
    """

    def __init__(self, seconds: float = PLAIN_SECONDS):
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console) if console.is_terminal else None
        self._seconds = seconds

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bars as they are."""
        if self._bars:
            self._bars.stop()

    def task(self, description: str, total: int | None, unit: str, done: int = 0) -> "Task":
        """Begin to show a task, of which `done` were done before. They count neither for the rate nor the time left."""
        if self._bars:
            self._bars.start()
        return Task(self._bars, self._seconds, description, total, unit, done)

    def note(self, text: str) -> None:
        """Print a line of text, above the bars if there are any."""
        if self._bars:
            self._bars.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)


class Task:
    """Work that a Display shows: how many of `total` are done, the rate per second and the time left."""

    def __init__(
        self, bars: Progress | None, seconds: float, description: str, total: int | None, unit: str, done: int
    ):
        self._bars, self._seconds = bars, seconds
        self._description, self._total, self._unit = description, total, unit
        self._first = self._done = done
        self._shown_done: int | None = None
        self._start = self._shown = time.monotonic()
        self._bar = bars.add_task(description, total=total, completed=done, unit=unit, first=done) if bars else None

    def update(self, done: int, description: str = "") -> None:
        """Show that `done` are done now. A description replaces the one before."""
        self._done, self._description = done, description or self._description
        if self._bars:
            self._bars.update(self._bar, completed=done, description=self._description)
        elif time.monotonic() - self._shown >= self._seconds:
            self._print()

    def finish(self) -> None:
        """Show the final state; the bar stays."""
        if not self._bars and self._done != self._shown_done:
            self._print()

    def remove(self) -> None:
        """Take the bar away; the task is no longer shown."""
        if self._bars:
            self._bars.remove_task(self._bar)

    def _print(self) -> None:
        self._shown, self._shown_done = time.monotonic(), self._done
        new, seconds = self._done - self._first, self._shown - self._start
        text = f"{self._description}: {self._done:,}" + (f" of {self._total:,}" if self._total else "")
        text += f" {self._unit}"
        if rate := _rate(new, seconds, self._unit):
            text += f", {rate}"
        if self._total and new and self._done < self._total:
            text += f", {clock((self._total - self._done) * seconds / new)} left"
        print(text, file=sys.stderr, flush=True)


class _Rate(ProgressColumn):
    def render(self, task: Bar) -> str:
        return _rate(task.completed - task.fields["first"], task.elapsed or 0.0, task.fields["unit"])


def _rate(done: float, seconds: float, unit: str) -> str:
    if not done or seconds <= 0:
        return ""
    rate = done / seconds
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"
