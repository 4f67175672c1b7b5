"""Progress of long work, on standard error: a bar in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn

T = TypeVar("T")

PLAIN_SECONDS = 10.0  # between two plain lines


def track(iterable: Iterable[T], total: int | None, description: str, unit: str = "utt") -> Iterator[T]:
    """Yield from `iterable` and show how many of `total` are done, the rate per second and the time left."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from _plain(iterable, total, description, unit)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(unit), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield from progress.track(iterable, total=total, description=description)


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> str:
        return _rate(task.completed, task.elapsed or 0.0, self._unit)


def _plain(iterable: Iterable[T], total: int | None, description: str, unit: str) -> Iterator[T]:
    start = shown = time.monotonic()
    done = shown_done = 0
    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if now - shown >= PLAIN_SECONDS and done != total:  # the last one gets its line below
            shown, shown_done = now, done
            _line(description, done, total, unit, now - start)
    if done != shown_done or not done:
        _line(description, done, total, unit, time.monotonic() - start)


def _line(description: str, done: int, total: int | None, unit: str, seconds: float) -> None:
    text = f"{description}: {done:,}" + (f" of {total:,}" if total else "") + f" {unit}"
    if rate := _rate(done, seconds, unit):
        text += f", {rate}"
    if total and done and done < total:
        left = round((total - done) * seconds / done)
        text += f", {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
    print(text, file=sys.stderr, flush=True)


def _rate(done: float, seconds: float, unit: str) -> str:
    if not done or seconds <= 0:
        return ""
    rate = done / seconds
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"
