"""The live line of a training run: a bar in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

_PLAIN_SECONDS = 15.0


class Meter:
    """Counts steps out of `total`, shows rate and time left; use as a context manager. A `silent` one shows nothing."""

    def __init__(self, total: int, done: int, silent: bool = False):
        self._silent = silent
        self._total, self._done, self._first = total, done, done
        self._start = self._shown = time.monotonic()
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console) if console.is_terminal and not silent else None
        self._task = self._bar.add_task("train", total=total, completed=done) if self._bar else None

    def __enter__(self) -> "Meter":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, text: str) -> None:
        """One more step is done."""
        self._done += 1
        if self._bar:
            self._bar.update(self._task, completed=self._done, description=text)
        elif self._line_due():
            left = (self._shown - self._start) / (self._done - self._first) * (self._total - self._done)
            clock = f"{int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d}"
            print(f"{text}, step {self._done}/{self._total}, {clock} left", file=sys.stderr, flush=True)

    def watch(self, items: Iterable[T], total: int, name: str) -> Iterator[T]:
        """The items, which are no steps, while the line shows how many of `total` are done."""
        for done, item in enumerate(items, 1):
            yield item
            if self._bar:
                self._bar.update(self._task, description=f"{name} {done}/{total}")
            elif self._line_due():
                print(f"{name} {done}/{total}", file=sys.stderr, flush=True)

    def _line_due(self) -> bool:
        now = time.monotonic()
        due = not self._silent and now - self._shown >= _PLAIN_SECONDS
        if due:
            self._shown = now
        return due

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._bar:
            self._bar.console.print(text, highlight=False, markup=False)
        elif not self._silent:
            print(text, file=sys.stderr, flush=True)
