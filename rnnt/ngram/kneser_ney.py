"""Estimation of n-gram models by interpolated modified Kneser-Ney smoothing (Chen and Goodman, 1998).

All arrays are files, which are read and written in blocks, so the text may be of any length. The n-grams of order n
are sorted by their last word, then the word before it, and so on. Row r has the key

    suffix x words + first word,      suffix: the row, among the (n-1)-grams, of the n-gram without its first word.

Keys ascend. The context of a row (the n-gram without its last word) is found by its key, whose suffix is the context of
the row's suffix.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from rnnt.files import naming
from rnnt.ngram.arpa import MAX_ORDER, write_arpa
from rnnt.ngram.counts import START, count_ngrams

_KINDS = {  # of the numbers in the files
    "keys": np.int64,
    "adjusted": np.uint32,
    "kept": bool,
    "contexts": np.int64,
    "probs": np.float64,
    "totals": np.float64,
    "backoffs": np.float64,
}
_ROWS = 1 << 18  # n-grams in a block
_FALLBACK = (0.5, 1.0, 1.5)  # discounts of an order whose counts of counts give none, as in kenlm
_START_LOG10 = -99.0  # of <s>, which is never predicted


def estimate_arpa(
    sentences: Iterable[Sequence[int]],
    names: Sequence[str],
    order: int,
    out: Path,
    prune: Sequence[int] = (),
) -> list[int]:
    """Estimate an n-gram model of sentences and write it as an ARPA file. Returns the number of n-grams of each order.

    sentences: numbers of words. names: the name of each number; the first three are <unk>, <s> and </s>, see
    `rnnt.ngram.counts`. Words with a name are in the model even if the text lacks them. Sentences must not hold a
    number without a name. prune: for each order from 1 on, n-grams that occur at most this often are left out. The last
    limit is that of all longer n-grams too. Single words are never left out. Temporary files are written next to `out`.
    Raises ValueError if there is no sentence, or if `order` or `prune` is out of range.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"the order of the n-grams is {order}; choose 1 to {MAX_ORDER}")
    limits = [*prune, *[prune[-1] if prune else 0] * order][:order]
    if limits != sorted(limits) or limits[0] != 0:
        raise ValueError(
            f"the limits for pruning are {list(prune)}; give ascending numbers that begin with 0, as 0 0 1"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with naming(out), tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        blocks = count_ngrams(sentences, order, len(names), Path(folder))
        orders = _adjust(blocks, names, [_Order(Path(folder), n + 1, limit) for n, limit in enumerate(limits)])
        orders = [found for found in orders if found.rows]
        if not orders:
            raise ValueError("the text is empty: there is nothing to estimate an n-gram model from")
        _unigrams(orders[0])
        for lower, higher in pairwise(orders):
            _interpolate(lower, higher, len(names))
        while not orders[-1].kept:
            orders.pop()
        lines = (_lines(orders[: n + 1], names, n + 1 < len(orders)) for n in range(len(orders)))
        write_arpa(out, [found.kept for found in orders], lines)
        return [found.kept for found in orders]


class _Order:
    """The n-grams of one order, as arrays in files.

    limit: n-grams that occur at most so often are pruned. rows, kept: number of n-grams, and of those not pruned.
    """

    def __init__(self, folder: Path, order: int, limit: int):
        self.folder, self.order, self.limit = folder, order, limit
        self.rows = self.kept = 0
        self._counts_of_counts = np.zeros(5, np.int64)  # number of n-grams with adjusted count 0 to 4

    def append(self, keys: np.ndarray, adjusted: np.ndarray, kept: np.ndarray) -> None:
        """Add n-grams. adjusted: counts as Kneser-Ney smoothing takes them."""
        for name, values in (("keys", keys), ("adjusted", adjusted), ("kept", kept)):
            with open(self._path(name), "ab") as file:
                file.write(values.astype(_KINDS[name]).data)
        self.rows += len(keys)
        self.kept += int(np.count_nonzero(kept))
        self._counts_of_counts += np.bincount(adjusted[adjusted < 5], minlength=5)

    def open(self, name: str) -> np.ndarray:
        """Return an array that was appended or created."""
        return np.memmap(self._path(name), _KINDS[name], "r+", shape=(self.rows,))

    def create(self, name: str) -> np.ndarray:
        """Return a new array of zeros, with a place for each n-gram. Raises OSError if the disk is full."""
        with open(self._path(name), "wb") as file:
            # Without reserved room, writing into the array on a full disk would end the process by a signal.
            os.posix_fallocate(file.fileno(), 0, self.rows * np.dtype(_KINDS[name]).itemsize)
        return np.memmap(self._path(name), _KINDS[name], "r+", shape=(self.rows,))

    def blocks(self) -> Iterator[slice]:
        """Yield the n-grams in blocks."""
        return (slice(first, min(first + _ROWS, self.rows)) for first in range(0, self.rows, _ROWS))

    def discounts(self) -> np.ndarray:
        """Return the discounts of the adjusted counts 0, 1, 2, and 3 or more (Chen and Goodman, equation 26).

        They are `_FALLBACK` if the text is too small, or too unlike natural text, to tell them.
        """
        n = self._counts_of_counts.tolist()
        if 0 in n[1:4]:
            return np.array([0.0, *_FALLBACK])
        share = n[1] / (n[1] + 2 * n[2])
        found = [count - (count + 1) * share * n[count + 1] / n[count] for count in (1, 2, 3)]
        valid = all(0 < discount <= count for count, discount in enumerate(found, 1))
        return np.array([0.0, *(found if valid else _FALLBACK)])

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}-{self.order}"


def _adjust(
    blocks: Iterable[tuple[list[np.ndarray], np.ndarray]], names: Sequence[str], orders: list[_Order]
) -> list[_Order]:
    """Fill the orders from the counts of the longest n-grams, which `count_ngrams` yields. Returns the orders.

    The adjusted count of an n-gram is the number of distinct words before it. That of the longest n-grams, and of those
    that begin with START, is how often they occur.
    """
    order, words = len(orders), len(names)
    unigrams = np.zeros(words, np.int64)
    pending = [np.zeros((3, 0), np.int64)] * order  # the last n-gram: its key, adjusted count, and occurrences so far
    rows = [0] * order  # begun so far, with the pending one
    previous: list[int] | None = None
    for columns, counts in blocks:
        changed = []  # for each order: whether a row's n-gram differs from that of the row before
        differs = np.zeros(len(counts), bool)
        for place, column in enumerate(columns):
            here = column != np.concatenate([[-1 if previous is None else previous[place]], column[:-1]])
            differs = differs | here
            changed.append(differs)
        previous = [int(column[-1]) for column in columns]

        suffixes = columns[0]  # the row of the n-gram without its first word, for the order at hand
        whole = np.ones(len(counts), bool)  # no START after the first word
        unigrams += np.bincount(suffixes, changed[1] if order > 1 else counts, words).astype(np.int64)
        for n in range(1, order):
            whole = whole & (columns[n - 1] != START)
            new = changed[n] & whole
            group = np.cumsum(new)
            if n + 1 < order:
                extensions = np.where(columns[n] == START, counts, changed[n + 1])
            else:
                extensions = counts
            sums = [np.bincount(group[whole], of[whole], group[-1] + 1).astype(np.int64) for of in (extensions, counts)]
            found = np.stack([np.concatenate([[0], suffixes[new] * words + columns[n][new]]), *sums])
            if pending[n].shape[1]:
                found[0, 0] = pending[n][0, 0]
                found[1:, 0] += pending[n][1:, 0]
            else:
                found = found[:, 1:]
            _append(orders[n], found[:, :-1])
            pending[n] = found[:, -1:]
            suffixes = rows[n] + group - 1
            rows[n] += int(group[-1])
    if previous is not None:
        orders[0].append(np.arange(words), unigrams, np.array([bool(name) for name in names]))
        for n in range(1, order):
            _append(orders[n], pending[n])
    return orders


def _append(order: _Order, found: np.ndarray) -> None:
    keys, adjusted, occurrences = found
    order.append(keys, adjusted, occurrences > order.limit)


def _unigrams(order: _Order) -> None:
    """Compute the probability of each word without context. Unseen words share the discounted mass equally."""
    adjusted = order.open("adjusted")
    discount = order.discounts()[np.minimum(adjusted, 3)]
    total = adjusted.sum(dtype=np.float64)
    unseen = discount.sum() / total / (order.kept - 1)  # <s> is never predicted
    order.create("probs")[:] = (adjusted - discount) / total + unseen
    order.create("contexts")


def _interpolate(lower: _Order, higher: _Order, words: int) -> None:
    """Compute the probabilities of an order from those of the order below it, whose backoff weights are set."""
    keys, adjusted, kept = (higher.open(name) for name in ("keys", "adjusted", "kept"))
    contexts = higher.create("contexts")
    lower_keys, lower_contexts, lower_probs = (lower.open(name) for name in ("keys", "contexts", "probs"))
    discounts = higher.discounts()
    totals, backoffs = lower.create("totals"), lower.create("backoffs")
    for block in higher.blocks():
        suffix, first = np.divmod(keys[block], words)
        wanted = first if lower.order == 1 else lower_contexts[suffix] * words + first
        contexts[block] = found = np.searchsorted(lower_keys, wanted)
        count = adjusted[block]
        np.add.at(totals, found, count)
        np.add.at(backoffs, found, np.where(kept[block], discounts[np.minimum(count, 3)], count))
    for block in lower.blocks():
        # A context that nothing follows has the weight 1.
        backoffs[block] = np.where(totals[block] > 0, backoffs[block] / np.maximum(totals[block], 1), 1)
    probs = higher.create("probs")
    for block in higher.blocks():
        count, context = adjusted[block], contexts[block]
        alone = (count - discounts[np.minimum(count, 3)]) / totals[context]
        probs[block] = alone + backoffs[context] * lower_probs[keys[block] // words]


def _lines(orders: list[_Order], names: Sequence[str], backs_off: bool) -> Iterator[str]:
    """Yield the lines of the n-grams of the last order, in blocks."""
    order = orders[-1]
    spelled = np.array(names, object)
    keys = [of.open("keys") for of in orders]
    kept, probs = order.open("kept"), order.open("probs")
    backoffs = order.open("backoffs") if backs_off else None
    for block in order.blocks():
        rows = np.flatnonzero(kept[block]) + block.start
        grams, place = [], rows
        for key in reversed(keys):
            place, word = np.divmod(key[place], len(names))
            grams.append(spelled[word].tolist())
        log10 = np.log10(probs[rows])
        if order.order == 1:
            log10[rows == START] = _START_LOG10
        columns = [log10.tolist(), map(" ".join, zip(*grams))]
        if backoffs is None:
            yield "".join([f"{prob:.7g}\t{gram}\n" for prob, gram in zip(*columns)])
        else:
            columns.append(np.log10(backoffs[rows]).tolist())
            yield "".join([f"{prob:.7g}\t{gram}\t{backoff:.7g}\n" for prob, gram, backoff in zip(*columns)])
