"""The progress of a job: one line on the terminal, and numbers for Ray's dashboard."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from ray.util.metrics import Counter, Gauge

from rnnt.cluster.inputs import Portion
from rnnt.progress import PLAIN_SECONDS
from rnnt.text import clock


class ProgressLine:
    """Shows the hours done, the rate, the time left and the errors of a job.

    total: bytes of all recordings. before: of those that earlier runs have done, which do not count for the rate. The
    time left is estimated by bytes, since the length of a recording is not known before it is read.
    """

    def __init__(self, total: int, before: int):
        self._total, self._done, self._before = total, before, before
        self._start, self._shown = time.monotonic(), 0.0
        self._terminal = sys.stderr.isatty()
        self.hours, self.errors, self.recordings = 0.0, 0, 0
        self._metrics = {
            "hours": Counter("rnnt_hours_done", "hours of recordings transcribed by this run"),
            "recordings": Counter("rnnt_recordings_done", "recordings transcribed by this run"),
            "errors": Counter("rnnt_errors", "recordings of this run with an error"),
            "left": Gauge("rnnt_bytes_left", "bytes of recordings that are not transcribed yet"),
            "workers": Gauge("rnnt_workers", "actors that decode"),
        }

    def add(self, portion: Portion, rows: Sequence[dict]) -> None:
        """Count a finished portion."""
        hours = sum(row["transcribed"] + row["left_out"] for row in rows) / 3600
        errors = sum(row["error"] is not None for row in rows)
        self.hours += hours
        self.errors += errors
        self.recordings += len(rows)
        self._done += portion.bytes
        for name, value in (("hours", hours), ("recordings", len(rows)), ("errors", errors)):
            if value > 0:
                self._metrics[name].inc(value)
        self._metrics["left"].set(max(self._total - self._done, 0))

    def show(self, workers: int, deaths: int, last: bool = False) -> None:
        """Show the line, if it is time for it."""
        seconds = time.monotonic() - self._start
        pause = 1.0 if self._terminal else PLAIN_SECONDS
        if not last and time.monotonic() - self._shown < pause:
            return
        self._shown = time.monotonic()
        self._metrics["workers"].set(workers)
        parts = [f"{self.hours:,.2f} hours in {clock(seconds)}"]
        if self.hours:
            parts.append(f"{3600 * self.hours / seconds:,.1f} x real time")
        if not workers and not last:
            parts.append("waiting for workers")
        elif self._done > self._before and self._done < self._total:
            left = (self._total - self._done) * seconds / (self._done - self._before)
            parts.append(f"{clock(left)} left")
        parts.append(f"{self.errors} errors")
        if deaths:
            parts.append(f"{deaths} workers died")
        line = ", ".join(parts)
        if self._terminal:
            print(f"\r\x1b[K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
