"""SIGINT and SIGTERM while training: the first one asks the run to save and stop, the second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator


class Stop:
    """Catches the signals for the length of a `with`; `signal` is the number of the first one, 0 before.

    Outside of the main thread, where Python has no signals, nothing is caught. torchrun hands each signal that it gets
    on to its processes once.
    """

    def __init__(self, announce: bool = True):
        self.signal = 0
        self._announce = announce
        self._before: dict = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def until(self, items: Iterable) -> Iterator:
        """The items, up to the first signal."""
        for item in items:
            if self.signal:
                return
            yield item

    def _take(self, number: int, frame) -> None:
        if self.signal:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)
        self.signal = number
        if self._announce:
            # Not print(): the signal may have come in the middle of one.
            os.write(2, b"\nsaving a checkpoint and stopping; once more to quit at once\n")
