"""Recordings of many clients: threads that transcribe all that wait in one batch, short ones apart from long ones."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rnnt.serve.futures import settle
from rnnt.serve.limits import Limits, OverloadedError
from rnnt.serve.metrics import Metrics
from rnnt.serve.steering import Steering
from rnnt.transcript import Transcript

if TYPE_CHECKING:
    from rnnt.decoding.scorer import Scorer

_SHORT_SECONDS = 60.0  # recordings up to this do not wait for longer ones


@dataclass(eq=False)
class _Job:
    """A recording that waits. scorers: by their names; jobs with the same ones share a batch."""

    samples: np.ndarray
    scorers: dict[str, Scorer]
    done: asyncio.Future
    since: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> tuple:
        """What jobs of one batch have in common."""
        return tuple((name, id(scorer)) for name, scorer in self.scorers.items())


class FileEngine:
    """Transcribes recordings. One thread takes short ones, and another one long ones."""

    def __init__(self, steering: Steering, limits: Limits, metrics: Metrics):
        self._rate = steering.recognizer.config.features.sample_rate
        self._limits, self._metrics = limits, metrics
        self._lanes = [_Lane(steering, limits, metrics, kind) for kind in ("short", "long")]
        self._count = 0

    async def transcribe(self, samples: np.ndarray, scorers: dict[str, Scorer]) -> Transcript:
        """Return the transcript of a recording, int16 (N,) at the model's rate.

        Raises OverloadedError if too many wait, TimeoutError if it took too long, and ValueError if it cannot be
        transcribed.
        """
        if self._count >= self._limits.files:
            raise OverloadedError(f"{self._count} recordings wait already; try again later")
        lane = self._lanes[len(samples) > _SHORT_SECONDS * self._rate]
        job = _Job(samples, scorers, asyncio.get_running_loop().create_future())
        self._count += 1
        self._metrics.files.set(self._count)
        try:
            lane.add(job)
            found = await asyncio.wait_for(job.done, self._limits.file_seconds)
        finally:
            self._count -= 1
            self._metrics.files.set(self._count)
            lane.remove(job)  # if the client has left or the time is over
        self._metrics.audio.labels("file").inc(found.seconds)
        return found

    def stop(self) -> None:
        """End the threads after their present batches. What waits gets a RuntimeError."""
        for lane in self._lanes:
            lane.stop()


class _Lane:
    """A thread that transcribes recordings, in batches of those that wait."""

    def __init__(self, steering: Steering, limits: Limits, metrics: Metrics, kind: str):
        self._steering, self._limits, self._metrics, self._kind = steering, limits, metrics, kind
        self._change = threading.Condition()
        self._waiting: list[_Job] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=kind, daemon=True)
        self._thread.start()

    def add(self, job: _Job) -> None:
        with self._change:
            if self._stopped:
                raise RuntimeError("the server is stopping")
            self._waiting.append(job)
            self._change.notify()

    def remove(self, job: _Job) -> None:
        with self._change:
            self._waiting = [other for other in self._waiting if other is not job]

    def stop(self) -> None:
        with self._change:
            self._stopped = True
            self._change.notify()
        self._thread.join()

    def _run(self) -> None:
        most = self._steering.recognizer.config.decoding.batch
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._stopped)
                if not self._stopped:
                    left = self._waiting[0].since + self._limits.gather_seconds - time.monotonic()
                    self._change.wait_for(lambda: self._stopped or len(self._waiting) >= most, max(left, 0))
                if self._stopped:
                    for job in self._waiting:
                        settle(job.done, RuntimeError("the server is stopping"))
                    return
                if not self._waiting:  # the client has left meanwhile
                    continue
                kind = self._waiting[0].kind
                jobs = [job for job in self._waiting if job.kind == kind][:most]
                self._waiting = [job for job in self._waiting if job not in jobs]
            self._work(jobs)

    def _work(self, jobs: list[_Job]) -> None:
        begin = time.monotonic()
        for job in jobs:
            self._metrics.waited.labels(self._kind).observe(begin - job.since)
        self._metrics.batch.labels(self._kind).observe(len(jobs))
        recognizer = self._steering.steered(jobs[0].scorers)
        left = list(jobs)
        try:
            for _, result in recognizer.transcribe_files([job.samples for job in jobs], len(jobs)):
                settle(left.pop(0).done, result)
        except Exception as error:
            for job in left:
                settle(job.done, RuntimeError(f"the model failed: {error}"))
            self._metrics.errors.labels("engine").inc(len(left))
        self._metrics.computed.labels(self._kind).observe(time.monotonic() - begin)
