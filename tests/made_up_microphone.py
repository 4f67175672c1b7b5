"""A stand-in for the package sounddevice."""

import os
import signal
from types import SimpleNamespace


class Microphone:
    """A microphone that hears samples at once. Then somebody presses Control-C."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self, samples, lost=False, error=None, interrupt=True):
        self.samples, self.lost, self.error, self.interrupt = samples, lost, error, interrupt
        self.opened, self.stream = None, None

    def InputStream(self, callback, blocksize, **options):
        if self.error:
            raise self.PortAudioError(self.error)

        def hear():
            for place in range(0, len(self.samples) - blocksize + 1, blocksize):
                block = self.samples[place : place + blocksize, None].copy()
                callback(block, blocksize, None, SimpleNamespace() if self.lost else None)
                block[:] = 0  # PortAudio uses its memory again
            if self.interrupt:
                os.kill(os.getpid(), signal.SIGINT)

        self.opened, self.stream = {"blocksize": blocksize, **options}, _Stream(hear)
        return self.stream


class _Stream:
    """stopped, closed: as the microphone's user has left it."""

    def __init__(self, start):
        self.start, self.stopped, self.closed = start, False, False

    def stop(self):
        self.stopped = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True
