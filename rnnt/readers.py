"""A pool of processes that reads the audio of utterances, in order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import Connection, wait

import numpy as np

from rnnt.corpora import Utterance
from rnnt.progress import Display
from rnnt.text import reason

MIN_SECONDS = 0.1
_SILENCE = 2  # range of the samples in digital silence; some recorders add noise of one step
_EDGE_SECONDS = 0.02  # left out of it at both ends: a constant that was resampled rings there

_CHUNK = 8  # utterances that a process gets at once
_CHUNKS_AHEAD = 3  # for each process; limits how much audio waits in memory


class Readers:
    """Reads utterances of a corpus in `workers` processes (default: one for each core), at `sample_rate`.

    Results come in the order of the utterances, and a limited number of utterances is read ahead. The processes start
    when they are first needed and serve every later call of `read`. They end with the `with` block, and also if this
    process is killed. One worker needs no processes: it reads in this one. So do several if the system lacks what their
    processes would share (/dev/shm on Linux); a line on standard error says so.

        with Readers(16000, workers=4) as readers:
            for utterance, result in readers.read(split.utterances):
                ...
    """

    def __init__(self, sample_rate: int, workers: int | None = None) -> None:
        self.sample_rate = sample_rate
        self._workers = workers or _cores()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Readers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None:
            return
        if kind is not None:
            self._end.close()  # ends the processes in the middle of what they read; nobody waits for it any more
        # Always waits: a pool that still shuts down when Python exits can print another traceback.
        self._pool.shutdown(cancel_futures=True)
        self._end.close()

    def read(self, utterances: Iterable[Utterance]) -> Iterator[tuple[Utterance, np.ndarray | str]]:
        """Yield each utterance with its samples, int16 (N,), or with the reason why it is left out.

        It is left out if it cannot be read, has no text, is not valid Unicode, is silent, or is shorter than
        `MIN_SECONDS`. Raises ChildProcessError if a process dies, and TypeError if a corpus breaks the contract of
        `Utterance.read`.
        """
        if self._workers == 1 or self._started() is None:
            for utterance in utterances:
                yield utterance, _read(utterance, self.sample_rate)
            return
        remaining = iter(utterances)
        waiting: deque[tuple[list[Utterance], Future]] = deque()
        try:
            while True:
                while len(waiting) < self._workers * _CHUNKS_AHEAD and (chunk := list(islice(remaining, _CHUNK))):
                    waiting.append((chunk, self._started().submit(_read_all, chunk, self.sample_rate)))
                if not waiting:
                    return
                chunk, future = waiting.popleft()
                yield from zip(chunk, future.result())
        except BrokenProcessPool:
            raise ChildProcessError(
                "a process that decodes audio was killed, perhaps for lack of memory; "
                "run the same command again, with fewer workers if that is the reason: it continues where it stopped"
            ) from None

    def _started(self) -> ProcessPoolExecutor | None:
        """Return the pool, or None if the system has no semaphores for it."""
        if self._pool is None:
            # Never "fork": a child would inherit locks that threads of this process hold, and wait for them for ever.
            methods = multiprocessing.get_all_start_methods()
            context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
            if "forkserver" in methods:
                context.set_forkserver_preload([__name__])
            # The connection ends when this process closes it, or is killed.
            ended, end = context.Pipe(duplex=False)
            try:
                self._pool = ProcessPoolExecutor(self._workers, context, initializer=_start_worker, initargs=(ended,))
            except (OSError, ImportError, NotImplementedError) as error:
                self._workers = 1
                ended.close()
                end.close()
                with Display() as display:
                    display.note(f"audio is read in one process: /dev/shm cannot be used ({reason(error)})")
                return None
            self._end = end
        return self._pool


def _cores() -> int:
    """Return the number of cores that this process may use; a container or a batch system may allow it only some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(ended: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent alone handles it
    parent = multiprocessing.parent_process()

    def leave() -> None:  # otherwise the workers of a killed parent would wait for work for ever
        wait([parent.sentinel, ended])
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


def _read_all(utterances: list[Utterance], sample_rate: int) -> list[np.ndarray | str]:
    return [_read(utterance, sample_rate) for utterance in utterances]


def _read(utterance: Utterance, sample_rate: int) -> np.ndarray | str:
    """Return the samples, or the reason why the utterance is left out."""
    if not utterance.text.strip():
        return "the text is empty"
    try:
        f"{utterance.id}{utterance.text}{utterance.speaker}".encode()
    except UnicodeEncodeError:  # a file name in another encoding, or half of a surrogate pair in JSON
        return "its id, text or speaker is not valid Unicode; rename the file or correct the text"
    try:
        samples = utterance.read(sample_rate)
    except Exception as error:  # whatever is wrong with one utterance must not stop the others
        return reason(error, limit=None)
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise TypeError(f"{utterance.id}: read() gave {samples.dtype} of shape {samples.shape}, expected int16 (N,)")
    if len(samples) < MIN_SECONDS * sample_rate:
        return f"only {len(samples) / sample_rate:.3f} s long, the minimum is {MIN_SECONDS} s"
    edge = round(_EDGE_SECONDS * sample_rate)
    inner = samples[edge : len(samples) - edge]
    if int(inner.max()) - int(inner.min()) <= _SILENCE:
        return "holds only silence, but has a text"
    return samples
