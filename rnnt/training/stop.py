"""Signals while training: the first one asks the run to save and stop, the second one ends it at once."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAVING = b"\nsaving a checkpoint and stopping; once more to quit at once\n"


class Stop:
    """Catches SIGINT, SIGTERM and SIGHUP during a `with`. `signal` is the number of the first one, 0 before.

    A closed terminal sends SIGHUP. It often comes twice, from the system and from the shell: only the first one counts.
    A process that ignores it, because it was started by nohup, goes on.

    Nothing is caught outside of the main thread, because Python has no signals there. torchrun hands each signal that
    it gets on to its processes once.
    """

    def __init__(self, announce: bool = True):
        self.signal = 0
        self._announce = announce
        self._before: dict = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            caught = [number for number in _CAUGHT if number != signal.SIGHUP or not ignores_hangup()]
            self._before = {number: signal.signal(number, self._take) for number in caught}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def until(self, items: Iterable) -> Iterator:
        """Yield the items, up to the first signal."""
        for item in items:
            if self.signal:
                return
            yield item

    def _take(self, number: int, frame) -> None:
        if number == signal.SIGHUP:
            _leave_lost_terminal()
        if self.signal:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            if number == signal.SIGTERM:
                raise SystemExit(128 + number)
            return
        self.signal = number
        if self._announce:
            with suppress(OSError):  # a full disk, or nobody reads any more
                os.write(2, _SAVING)  # not print(): the signal may have come in the middle of one


def ignores_hangup() -> bool:
    """Return whether this process ignores SIGHUP, as one that was started by nohup does."""
    return signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def _leave_lost_terminal() -> None:
    """Send standard output and error nowhere if they were a terminal that is gone.

    Every write to it would fail, and the first one would end the run before its checkpoint.
    """
    for descriptor in (1, 2):
        try:
            lost = stat.S_ISCHR(os.fstat(descriptor).st_mode) and not _writable(descriptor)
        except OSError:  # it is closed
            continue
        if lost:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _writable(descriptor: int) -> bool:
    try:
        os.write(descriptor, b"\n")
    except OSError:
        return False
    return True
