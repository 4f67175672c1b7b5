"""Results that background threads compute before they are needed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor


def read_ahead(plan: Iterable, read: Callable, ahead: int, threads: int = 2) -> Iterator:
    """Yield read(x) for each x of the plan, computed by background threads that are at most `ahead` results ahead."""
    waiting: deque[Future] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for part in plan:
            waiting.append(pool.submit(read, part))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
