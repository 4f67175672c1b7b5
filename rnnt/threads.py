"""The number of threads that PyTorch computes with on a CPU, while other programs use some of its cores."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")

SECONDS = 0.5  # between two looks at the cores

_STAT = Path("/proc/stat")


class Threads:
    """Keeps PyTorch's threads to the cores that other programs leave free.

    PyTorch splits an operation over its threads, and all of them wait for the last one. If another program keeps a core
    busy, there is one thread too many: the system sets a thread aside for milliseconds, in operation after operation,
    while the others wait. Fewer threads are then several times faster.

    The first number of threads is the highest that is taken. It stays for good if the user has set OMP_NUM_THREADS or
    calls `torch.set_num_threads`, and on systems other than Linux, which do not tell how busy a core is.

        threads = Threads()
        for batch in batches:
            threads.adapt()
            step(batch)
    """

    def __init__(self) -> None:
        self._cores = _allowed_cores()
        self._threads: int | None = None  # as this object has set them
        self._most = 0
        self._last = _times(self._cores) if "OMP_NUM_THREADS" not in os.environ else None

    def adapt(self) -> None:
        """Set the number of threads if the last look at the cores was `SECONDS` ago.

        Call it between two pieces of work, in the thread that does the work.
        """
        if self._last is None or time.monotonic() - self._last[0] < SECONDS:
            return
        import torch  # here, so that commands that do not compute start without it

        current = torch.get_num_threads()
        if self._threads is None:
            self._threads = self._most = current
        now = _times(self._cores)
        if now is None or current != self._threads:
            self._last = None
            return
        seconds, busy, own = (after - before for after, before in zip(now, self._last))
        self._last = now
        self._threads = threads_for(len(self._cores), (busy - own) / seconds, self._most)
        if self._threads != current:
            torch.set_num_threads(self._threads)


def adapting(iterable: Iterable[T], threads: Threads) -> Iterator[T]:
    """Yield from the iterable; the threads are adapted before each item is made and after the last one."""
    threads.adapt()
    for item in iterable:
        yield item
        threads.adapt()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute in the calling thread alone.

    Threads that help a thread of Python remain when its work is done. If there are more of all of them than cores, they
    no longer wait for the next operation, but sleep: each operation takes the time of waking them, and small ones then
    take twice as long. So a thread that computes only once should do without.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(work: Callable[[T], R], items: Sequence[T], device: "torch.device") -> Iterator[R]:
    """Yield work(item) for each item, in order, while several threads work on different items.

    There are as many threads as PyTorch computes with; for a GPU the caller works alone. Small operations gain little
    if PyTorch spreads each over its threads, which then wait for each other; here none waits for another. The work must
    be free to happen in any order.

    >>> import torch
    >>> list(side_by_side(lambda number: number**2, [3, 1, 2], torch.device("cpu")))
    [9, 1, 4]
    """
    import torch

    threads = torch.get_num_threads()
    workers = min(threads, len(items)) if device.type == "cpu" else 1
    if workers < 2:
        yield from map(work, items)
        return
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, items)
    finally:
        torch.set_num_threads(threads)  # a thread's setting is that of the whole process in some of the libraries


def threads_for(cores: int, others: float, most: int) -> int:
    """Return how many threads to take on `cores` cores, of which other programs use `others`; at least 1.

    >>> [threads_for(2, others, 2) for others in (0.1, 0.6, 1.0, 1.3)]
    [2, 1, 1, 1]
    """
    return max(1, min(most, int(cores - others + 0.5)))


def _allowed_cores() -> set[int]:
    """Return the numbers of the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _times(cores: set[int]) -> tuple[float, float, float] | None:
    """Return the time, how long these cores have been busy, and how long this process ran, in seconds; None if unknown.

    Time that the host of a virtual machine gave to others ("steal") counts as busy.
    """
    try:
        lines = [line.split() for line in _STAT.read_text().splitlines() if line.startswith("cpu")]
        tick = os.sysconf("SC_CLK_TCK")
        busy = {
            int(name[3:]): sum(map(int, (*times[:3], *times[5:8]))) / tick for name, *times in lines if name != "cpu"
        }
        return time.monotonic(), sum(busy[core] for core in cores), sum(os.times()[:2])
    except (OSError, ValueError, KeyError):
        return None
