"""Counting the n-grams of a text of any length, in bounded memory: chunks are sorted, kept on disk and merged.

An n-gram is packed into a few 64-bit numbers, its last word in the highest bits. So n-grams that end alike are next to
each other, which is the order that Kneser-Ney estimation needs.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

UNKNOWN, START, END = 0, 1, 2  # the numbers of <unk>, <s> and </s>
FIRST_WORD = 3  # the number of the first other word
_CHUNK = 1 << 22  # n-grams that are sorted in memory at once
_MERGED = 1 << 20  # n-grams that are merged at once, over all runs


@dataclass(frozen=True)
class _Packing:
    """How the words of an n-gram are packed: `fit` words into each 64-bit number, as digits of base `words`."""

    order: int
    words: int

    @property
    def fit(self) -> int:
        fit = 1
        while fit < self.order and self.words ** (fit + 1) <= 1 << 64:
            fit += 1
        return fit

    def pack(self, text: np.ndarray) -> list[np.ndarray]:
        """Return the columns of all windows of `order` words of a text, the most significant column first."""
        windows = len(text) - self.order + 1
        columns = []
        for first in range(0, self.order, self.fit):
            key = np.zeros(windows, np.uint64)
            for back in range(first, min(first + self.fit, self.order)):
                start = self.order - 1 - back
                key *= np.uint64(self.words)
                key += text[start : start + windows]
            columns.append(key)
        return columns

    def unpack(self, columns: list[np.ndarray]) -> list[np.ndarray]:
        """Return the words of each n-gram: a list of `order` arrays, the last word first."""
        words = []
        for index, key in enumerate(columns):
            digits = []
            for _ in range(min(self.fit, self.order - index * self.fit)):
                key, digit = np.divmod(key, np.uint64(self.words))
                digits.append(digit.astype(np.int64))
            words += reversed(digits)
        return words


def count_ngrams(
    sentences: Iterable[Sequence[int]], order: int, words: int, folder: Path
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Yield the distinct n-grams of sentences and how often each occurs, in blocks.

    sentences: numbers of words, from FIRST_WORD to `words` - 1. Each sentence is preceded by `order` - 1 times START
    and followed by one END. A block is a list of `order` arrays, the last word of each n-gram first, and an array of
    counts. N-grams come in ascending order, compared from the last word to the first. folder: gets files as large as
    all distinct n-grams of each chunk together; they are removed at the end.
    """
    packing = _Packing(order, words)
    runs = []
    for text in _texts(sentences, order):
        run = folder / f"run-{len(runs)}"
        _write_run(run, _reduce(_ending_in_words(packing.pack(text), text, order)))
        runs.append(run)
    for columns, counts in _merge(runs, -(-order // packing.fit)):
        yield packing.unpack(columns), counts
    for run in runs:
        run.unlink()


def _texts(sentences: Iterable[Sequence[int]], order: int) -> Iterator[np.ndarray]:
    """Join sentences, with their starts and ends, to arrays of about `_CHUNK` words."""
    start, end = [START] * (order - 1), [END]
    joined: list[Sequence[int]] = []
    length = 0
    for sentence in sentences:
        joined += (start, sentence, end)
        length += len(sentence) + order
        if length >= _CHUNK:
            yield np.fromiter(chain.from_iterable(joined), np.uint64, length)
            joined, length = [], 0
    if length:
        yield np.fromiter(chain.from_iterable(joined), np.uint64, length)


def _ending_in_words(columns: list[np.ndarray], text: np.ndarray, order: int) -> list[np.ndarray]:
    """Drop the windows that end in START."""
    kept = text[order - 1 :] != START
    return [column[kept] for column in columns]


def _reduce(columns: list[np.ndarray], counts: np.ndarray | None = None) -> tuple[list[np.ndarray], np.ndarray]:
    """Sort n-grams and add up the counts of equal ones; without counts, each counts once."""
    if len(columns) == 1 and counts is None:
        columns = [np.sort(columns[0])]
    else:
        order = np.lexsort(columns[::-1]) if len(columns) > 1 else np.argsort(columns[0], kind="stable")
        columns = [column[order] for column in columns]
        counts = None if counts is None else counts[order]
    changes = np.ones(len(columns[0]), bool)
    changes[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    first = np.flatnonzero(changes)
    if counts is None:
        counts = np.diff(first, append=len(changes))
    else:
        counts = np.add.reduceat(counts, first)
    return [column[first] for column in columns], counts


def _write_run(path: Path, run: tuple[list[np.ndarray], np.ndarray]) -> None:
    columns, counts = run
    with open(path, "wb") as file:
        for column in (*columns, counts.astype(np.uint64)):
            file.write(column.data)


def _merge(runs: list[Path], columns: int) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Merge sorted runs, each of `columns` columns and the counts, and add up the counts of equal n-grams."""
    tables = [np.memmap(run, np.uint64, "r").reshape(columns + 1, -1) for run in runs]
    places = [0] * len(tables)
    step = max(_MERGED // max(len(tables), 1), 1)
    while any(place < table.shape[1] for place, table in zip(places, tables)):
        # All n-grams up to the least of the steps' last ones are within these steps, because a run has each once.
        ends = [min(place + step, table.shape[1]) for place, table in zip(places, tables)]
        open_ended = [tuple(table[:columns, end - 1]) for table, end in zip(tables, ends) if end < table.shape[1]]
        cut = min(open_ended) if open_ended else None
        parts = []
        for index, (table, place, end) in enumerate(zip(tables, places, ends)):
            if cut is not None:
                end = bisect_right(range(end), cut, place, key=lambda i, of=table: tuple(of[:columns, i]))
            parts.append(np.asarray(table[:, place:end]))
            places[index] = end
        joined = np.concatenate(parts, axis=1)
        yield _reduce(list(joined[:columns]), joined[columns].astype(np.int64))
