"""A pool of processes that reads the inputs of utterances, in order."""

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
from pathlib import Path

import numpy as np

from rnnt.corpora import Utterance, read_utterance
from rnnt.origin import file_sums
from rnnt.progress import Display
from rnnt.shard import ShardWriter
from rnnt.text import reason

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

    shards_ahead = 0  # that may be closed and not yet on the disk

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

    def read(self, utterances: Iterable[Utterance]) -> Iterator[tuple[Utterance, np.ndarray | list[str] | str]]:
        """Yield each utterance with its samples, int16 (N,), or its symbols, or the reason why it is left out.

        `rnnt.corpora.read_utterance` says which utterances are left out. Raises ChildProcessError if a process dies,
        and TypeError if a corpus breaks the contract of `Utterance.read`.
        """
        if self._workers == 1 or self._started() is None:
            for utterance in utterances:
                yield utterance, read_utterance(utterance, self.sample_rate)
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

    def sums(self, utterance: Utterance) -> list[str]:
        """Return the SHA-256 of each file of an utterance that was just read: its files are in memory."""
        return file_sums(utterance)

    def writer(self, path: Path, input: str) -> ShardWriter:
        """Return a writer of a shard, whose `close` returns it."""
        return ShardWriter(path, input)

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


def _read_all(utterances: list[Utterance], sample_rate: int) -> list[np.ndarray | list[str] | str]:
    return [read_utterance(utterance, sample_rate) for utterance in utterances]
