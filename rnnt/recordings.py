"""Recordings, read in the background and cut into segments, as windows of segments that are decoded together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat, takewhile
from typing import TYPE_CHECKING

import numpy as np

from rnnt.read_ahead import read_ahead
from rnnt.segments import WHOLE_SECONDS, cut

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

_AHEAD = 4  # recordings that are opened before they are needed


@dataclass(frozen=True)
class Piece:
    """A segment: the number of its recording, its first sample and the one after its last there, and the samples."""

    recording: int
    start: int
    end: int
    samples: np.ndarray

    def without_samples(self) -> Piece:
        """Return the same place without its memory."""
        return replace(self, samples=self.samples[:0].copy())


@dataclass(frozen=True)
class End:
    """The end of a recording. error: why it was not read any further than `length` samples."""

    recording: int
    length: int
    error: ValueError | OSError | None


class _Reading:
    """The blocks of a recording, up to its end or to the error that ends it early."""

    def __init__(self, number: int, opened: Iterable[np.ndarray], sample_rate: int):
        """Read what may be a whole short recording, or a little more."""
        self.number, self.length, self.error = number, 0, None
        self._whole = round(WHOLE_SECONDS * sample_rate)
        self._opened = iter(opened)
        self._first: list[np.ndarray] = []
        while not self.is_long and (block := self._next()) is not None:
            self._first.append(block)

    @property
    def is_long(self) -> bool:
        """True once more samples have been read than a short recording has."""
        return self.length > self._whole

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all blocks, once."""
        yield from self._first
        self._first = []
        while (block := self._next()) is not None:
            yield block

    def _next(self) -> np.ndarray | None:
        try:
            block = next(self._opened, None)
        except (ValueError, OSError) as error:
            self.error = error
            return None
        except MemoryError:
            self.error = ValueError("is too long for the memory of this machine; split it")
            return None
        self.length += 0 if block is None else len(block)
        return block


def _pieces(reading: _Reading, sample_rate: int, hop: int, stride: int) -> Iterator[Piece | End]:
    """Yield the segments of a recording and its end. One that is damaged and not long has no segments."""
    for start, samples in cut(reading.blocks(), sample_rate, hop, stride):
        if reading.error is None or reading.is_long:
            yield Piece(reading.number, start, start + len(samples), samples)
    yield End(reading.number, reading.length, reading.error)


def windows(
    sources: Iterable[Callable[[], Iterable[np.ndarray]]],
    size: int,
    longest: int,
    sample_rate: int,
    hop: int,
    stride: int,
) -> Iterator[list[Piece | End]]:
    """Yield the segments of all recordings, and the ends of recordings, in order, in lists that are read ahead.

    sources: each gives the blocks of a recording. size: segments in the first list; the next ones have twice and four
    times as many, so that the first results come soon. longest: samples of a list, apart from its last segment. hop and
    stride: see `cut`.
    """

    def items() -> Iterator[Piece | End]:
        numbered = enumerate(sources)
        for reading in read_ahead(numbered, lambda item: _Reading(item[0], item[1](), sample_rate), _AHEAD):
            yield from _pieces(reading, sample_rate, hop, stride)

    def lists() -> Iterator[list[Piece | End]]:
        window: list[Piece | End] = []
        most = size
        for item in items():
            window.append(item)
            pieces = [item for item in window if isinstance(item, Piece)]
            if len(window) >= 2 * most or len(pieces) >= most or sum(len(p.samples) for p in pieces) >= longest:
                yield window
                window, most = [], min(2 * most, 4 * size)
        yield window

    made = lists()
    return takewhile(lambda x: x is not None, read_ahead(repeat(made), lambda x: next(x, None), 1, threads=1))


@dataclass(frozen=True)
class Grid:
    """Where the segments of a model's recordings may begin and end, in samples."""

    rate: int  # samples a second
    hop: int  # of a feature frame
    step: int  # of an encoder frame

    @staticmethod
    def of(recognizer: Recognizer) -> Grid:
        """Return the grid of a model that reads audio."""
        features = recognizer.config.features
        return Grid(features.sample_rate, features.hop, round(recognizer.frame_seconds * features.sample_rate))

    def pieces(self, number: int, blocks: Iterable[np.ndarray]) -> list[Piece | End]:
        """Return the segments of one recording, int16 blocks (N,), and at the end the `End`."""
        reading = _Reading(number, blocks, self.rate)
        return list(_pieces(reading, self.rate, self.hop, self.step // self.hop))

    def windows(
        self, sources: Sequence[Callable[[], Iterable[np.ndarray]]], batch_size: int, seconds: float
    ) -> Iterator[list[Piece | End]]:
        """Yield the segments and the ends of recordings in windows of `seconds`, as `rnnt.recordings.windows` does."""
        cutting = self.rate, self.hop, self.step // self.hop
        return windows(sources, batch_size, round(seconds * self.rate), *cutting)
