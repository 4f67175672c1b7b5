"""Live streams of many clients: one thread lets all that have new audio advance in one batch."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from rnnt.audio.sample_stream import check_samples
from rnnt.decoding.endpoint import EndpointRules
from rnnt.live import Stream, accept_together, finish_together
from rnnt.serve.futures import settle
from rnnt.serve.limits import Limits, OverloadedError
from rnnt.serve.metrics import Metrics
from rnnt.serve.steering import Steering
from rnnt.threads import one_thread
from rnnt.transcript import Transcript

_RULES = EndpointRules()
# Models with fewer parameters compute in one thread. A chunk of a stream is little work, and threads that wait for the
# next operation take cores from the event loop: on 2 cores, 40 streams of 2 million parameters waited 5 times as long.
_SMALL = 10_000_000


@dataclass(frozen=True)
class Update:
    """The state of a stream after some audio.

    partial: the text of the present utterance, without words; it may still change. finals: the utterances that have
    ended with this audio. result: the whole transcript, if the stream is finished.
    """

    partial: Transcript
    finals: list[Transcript]
    result: Transcript | None = None


@dataclass(eq=False)
class _Work:
    """Audio of a stream that waits. last: the stream ends after it. since: when it came (time.monotonic)."""

    stream: Stream
    samples: np.ndarray
    last: bool
    done: asyncio.Future
    since: float = field(default_factory=time.monotonic)


class Session:
    """The stream of one client. `LiveEngine.open` makes it; its methods belong to the event loop."""

    def __init__(self, engine: LiveEngine, stream: Stream, sample_rate: int, longest: float):
        self._engine, self._stream, self._rate, self._longest = engine, stream, sample_rate, longest
        self._count = 0

    @property
    def seconds(self) -> float:
        """Audio that has come so far."""
        return self._count / self._rate

    async def accept(self, samples: np.ndarray, last: bool = False) -> Update:
        """Take samples (N,), int16 or float in [-1, 1], and wait until they are transcribed. last: the stream ends.

        Raises ValueError if they are no samples or the stream is too long, and RuntimeError if the engine failed.
        """
        samples = check_samples(samples)
        self._count += len(samples)
        if self.seconds > self._longest:
            raise ValueError(f"a stream may last {self._longest:g} s; start another one")
        update = await self._engine._submit(self._stream, samples, last)
        self._engine.metrics.audio.labels("live").inc(len(samples) / self._rate)
        return update

    def close(self) -> None:
        """Free the stream's state. May be called again."""
        self._engine._close(self._stream)


class LiveEngine:
    """Advances all streams of one model. A thread does the work, and begins at `gather_seconds` after the first chunk.

    It begins earlier if every open stream has audio. A stream's result does not depend on the others.
    """

    def __init__(self, steering: Steering, limits: Limits, metrics: Metrics):
        self.recognizer, self._steering = steering.recognizer, steering
        self._limits, self.metrics = limits, metrics
        self._change = threading.Condition()
        self._waiting: list[_Work] = []
        self._open: set[Stream] = set()
        self._oldest: float | None = None  # when the oldest audio came that is waiting, or being worked on
        self._stopped = False
        small = self.recognizer.model.num_parameters() < _SMALL
        self._threads = 1 if small else torch.get_num_threads()  # that compute an operation
        self._thread: threading.Thread | None = None  # while streams are open: see `rnnt.threads.one_thread`

    def open(
        self,
        sample_rate: int,
        hotwords: tuple[str, ...] = (),
        lm: str = "",
        rules: EndpointRules | None = _RULES,
    ) -> Session:
        """Return a new stream. rules: of endpoints; None for none.

        Raises OverloadedError if there are too many or they fall behind, and ValueError if the model cannot stream or
        a setting makes no sense.
        """
        if len(self._open) >= self._limits.streams:
            raise OverloadedError(
                f"the server holds {self._limits.streams} streams, as many as it can; try again later"
            )
        if self.lag() > self._limits.lag_seconds:
            raise OverloadedError("the server is behind with its streams; try again later")
        with one_thread():
            stream = self.recognizer.stream(sample_rate, self._steering.decoder(hotwords, lm), rules)
        self._open.add(stream)
        self.metrics.streams.set(len(self._open))
        return Session(self, stream, sample_rate, self._limits.stream_seconds)

    def lag(self) -> float:
        """Return the age in seconds of the oldest audio that is not transcribed."""
        oldest = self._oldest
        return 0.0 if oldest is None else time.monotonic() - oldest

    def stop(self) -> None:
        """End the thread after its present batch. What waits gets a RuntimeError."""
        with self._change:
            self._stopped = True
            self._change.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    async def _submit(self, stream: Stream, samples: np.ndarray, last: bool) -> Update:
        if stream not in self._open:
            raise RuntimeError("the stream is closed")
        work = _Work(stream, samples, last, asyncio.get_running_loop().create_future())
        with self._change:
            if self._stopped:
                raise RuntimeError("the server is stopping")
            self._waiting.append(work)
            self._oldest = self._oldest or work.since
            self._change.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="live", daemon=True)
                self._thread.start()
        return await work.done

    def _close(self, stream: Stream) -> None:
        with self._change:
            self._open.discard(stream)
            self._waiting = [work for work in self._waiting if work.stream is not stream]
            self._change.notify()
        self.metrics.streams.set(len(self._open))

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while True:
            with self._change:
                self._oldest = min((work.since for work in self._waiting), default=None)
                self._change.wait_for(lambda: self._waiting or self._stopped or not self._open)
                if not self._waiting:
                    self._thread = None
                    return
                if not self._stopped:
                    until = self._waiting[0].since + self._limits.gather_seconds
                    self._change.wait_for(
                        lambda: self._stopped or len(self._waiting) >= len(self._open),
                        max(until - time.monotonic(), 0),
                    )
                works, self._waiting = self._waiting, []
                stopped = self._stopped
            if stopped:
                _fail(works, RuntimeError("the server is stopping"))
                return
            if works:
                self._work(works)

    def _work(self, works: list[_Work]) -> None:
        begin = time.monotonic()
        for work in works:
            self.metrics.waited.labels("live").observe(begin - work.since)
        self.metrics.batch.labels("live").observe(len(works))
        self.metrics.lag.set(begin - min(work.since for work in works))
        try:
            fed = [work for work in works if len(work.samples)]
            accept_together([work.stream for work in fed], [work.samples for work in fed])
            ended = [work for work in works if work.last]
            results = dict(zip(map(id, ended), finish_together([work.stream for work in ended])))
            updates = [Update(work.stream.partial_text, work.stream.finals(), results.get(id(work))) for work in works]
        except Exception as error:  # their states are not known any more
            _fail(works, RuntimeError(f"the model failed: {error}"))
            self.metrics.errors.labels("engine").inc(len(works))
            return
        self.metrics.computed.labels("live").observe(time.monotonic() - begin)
        for work, update in zip(works, updates):
            settle(work.done, update)


def _fail(works: list[_Work], error: Exception) -> None:
    for work in works:
        settle(work.done, error)
