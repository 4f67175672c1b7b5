"""Recordings of many clients: a thread that decodes segments of all that wait in one batch, long and short apart."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from rnnt.recordings import End, Grid, Piece
from rnnt.serve.futures import settle
from rnnt.serve.limits import Limits, OverloadedError
from rnnt.serve.metrics import Metrics
from rnnt.serve.steering import Steering
from rnnt.transcript import Transcript
from rnnt.transcription import join_pieces, named_error, transcribe_pieces

if TYPE_CHECKING:
    from rnnt.decoding.scorer import Scorer

_SHORT_SECONDS = 60.0  # recordings up to this share batches
_IDLE_SECONDS = 2.0  # without work, after which the thread ends: see `rnnt.threads.one_thread`
_TURN_SECONDS = 1.0  # of work on longer ones, about, after which a short one that has come gets its turn


@dataclass(eq=False)
class _Job:
    """A recording that waits. scorers: by their names; segments with the same ones share a batch.

    waiting: segments that are in no batch yet. parts: those that are decoded. count: of all.
    """

    waiting: list[Piece]
    end: End
    short: bool
    scorers: dict[str, Scorer]
    done: asyncio.Future
    since: float = field(default_factory=time.monotonic)
    parts: list[tuple[Piece, Transcript | ValueError]] = field(default_factory=list)
    count: int = field(init=False)

    def __post_init__(self):
        self.count = len(self.waiting)

    @property
    def kind(self) -> tuple:
        """What jobs of one batch have in common."""
        return self.short, *((name, id(scorer)) for name, scorer in self.scorers.items())


class FileEngine:
    """Transcribes recordings in turns. A batch of a turn has segments of several recordings.

    A turn begins when as many segments wait as the last one had and left, since clients that send one recording after
    another come back together; at the latest `gather_seconds` after the first one came or the last turn ended. If both
    short and long recordings wait, each kind gets half of the time. One thread does all, since the operations of
    PyTorch use all cores already.
    """

    def __init__(self, steering: Steering, limits: Limits, metrics: Metrics):
        self.grid, self._most = Grid.of(steering.recognizer), steering.recognizer.config.decoding.batch
        self._steering, self._limits, self._metrics = steering, limits, metrics
        self._count = 0
        self._change = threading.Condition()
        self._jobs: list[_Job] = []  # that have segments which wait
        self._ended = 0.0  # when the last turn was over
        self._expected = 1  # segments for the next one
        self._long_rests = 0.0  # until this time short recordings come first, and then long ones
        self._speed = 0.0  # seconds of padded audio that were decoded in one second of the last turn
        self._stopped = False
        self._threads = torch.get_num_threads()  # that compute an operation
        self._thread: threading.Thread | None = None

    async def transcribe(self, recording: list[Piece | End], scorers: dict[str, Scorer]) -> Transcript:
        """Return the transcript of a recording, as `grid.pieces` returns it.

        Raises OverloadedError if too many wait, TimeoutError if it took too long, and ValueError if it cannot be
        transcribed.
        """
        if self._count >= self._limits.files:
            raise OverloadedError(f"{self._count} recordings wait already; try again later")
        *pieces, end = recording
        short = end.length <= _SHORT_SECONDS * self.grid.rate
        job = _Job(pieces, end, short, scorers, asyncio.get_running_loop().create_future())
        self._count += 1
        self._metrics.files.set(self._count)
        try:
            self._add(job)
            found = await asyncio.wait_for(job.done, self._limits.file_seconds)
        finally:
            self._count -= 1
            self._metrics.files.set(self._count)
            with self._change:  # if the client has left or the time is over
                self._jobs = [other for other in self._jobs if other is not job]
        self._metrics.audio.labels("file").inc(found.seconds)
        return found

    def stop(self) -> None:
        """End the thread after its present turn. What waits gets a RuntimeError."""
        with self._change:
            self._stopped = True
            self._change.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _add(self, job: _Job) -> None:
        if not job.waiting:  # silence
            settle(job.done, join_pieces(job.end, [], self.grid))
            return
        with self._change:
            if self._stopped:
                raise RuntimeError("the server is stopping")
            self._jobs.append(job)
            self._change.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="files", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while True:
            with self._change:
                self._change.wait_for(lambda: self._jobs or self._stopped, _IDLE_SECONDS)
                if self._jobs and not self._stopped:
                    since = max(min(job.since for job in self._jobs), self._ended)
                    left = since + self._limits.gather_seconds - time.monotonic()
                    self._change.wait_for(lambda: self._stopped or self._waiting() >= self._expected, max(left, 0))
                if self._stopped:
                    for job in self._jobs:
                        settle(job.done, RuntimeError("the server is stopping"))
                    return
                if not self._jobs:  # for long, or the clients have left meanwhile
                    self._thread = None
                    return
                taken = self._take()
            self._work(taken)

    def _waiting(self) -> int:
        return sum(len(job.waiting) for job in self._jobs)

    def _take(self) -> list[tuple[_Job, Piece]]:
        """Take segments for a turn, first those of the recordings of which the fewest are decoded."""
        short_first = time.monotonic() < self._long_rests
        jobs = sorted(self._jobs, key=lambda job: (job.short != short_first, len(job.parts), job.since))
        jobs = [job for job in jobs if job.kind == jobs[0].kind]
        most = self._most
        if not jobs[0].short:
            longest = max(piece.end - piece.start for job in jobs for piece in job.waiting[:most]) / self.grid.rate
            most = min(most, max(1, int(_TURN_SECONDS * self._speed / longest)))
        taken: list[tuple[_Job, Piece]] = []
        for job in jobs:
            room = most - len(taken)
            now, job.waiting = job.waiting[:room], job.waiting[room:]
            taken += [(job, piece) for piece in now]
        self._jobs = [job for job in self._jobs if job.waiting]
        return taken

    def _work(self, taken: list[tuple[_Job, Piece]]) -> None:
        begin, kind = time.monotonic(), "short" if taken[0][0].short else "long"
        jobs = [job for job, _ in taken]
        for job in dict.fromkeys(jobs):
            if not job.parts:
                self._metrics.waited.labels(kind).observe(begin - job.since)
        self._metrics.batch.labels(kind).observe(len(taken))
        recognizer = self._steering.steered(jobs[0].scorers)
        pieces = [replace(piece, recording=number) for number, (_, piece) in enumerate(taken)]
        ready: list[tuple[_Job, Transcript | Exception]] = []
        try:
            for decoded in transcribe_pieces(recognizer, pieces, len(pieces)):
                for piece, result in decoded:
                    job = jobs[piece.recording]
                    job.parts.append((piece, result))
                    if len(job.parts) == job.count:
                        whole = join_pieces(job.end, job.parts, self.grid)
                        ready.append((job, named_error(whole, "the recording")))
        except Exception as error:
            ready += [(job, RuntimeError(f"the model failed: {error}")) for job in dict.fromkeys(jobs)]
            self._metrics.errors.labels("engine").inc(len(set(jobs)))
        seconds = time.monotonic() - begin
        self._speed = len(pieces) * max(piece.end - piece.start for piece in pieces) / self.grid.rate / seconds
        self._metrics.computed.labels(kind).observe(seconds)
        with self._change:
            self._ended = time.monotonic()
            if kind == "long":
                self._long_rests = self._ended + seconds
            self._expected = min(len(taken) + self._waiting(), self._most)
        for job, found in ready:  # now, or clients that come back would be counted twice
            settle(job.done, found)
