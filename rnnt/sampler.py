"""Which utterances make up which batch.

In training this is a pure function of seed and epoch, so that a run can be resumed anywhere.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np


class Batches(Sequence[np.ndarray]):
    """The batches of an epoch, each an int32 array of utterance indices; a slice of them is of the same type.

    Each batch is sliced from one shared array on demand; storing an array for every batch would take more memory than
    the shared one.
    """

    def __init__(self, utterances: np.ndarray, size: int, order: np.ndarray):
        self._utterances, self._size, self._order = utterances, size, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Batches(self._utterances, self._size, self._order[index])
        start = int(self._order[index]) * self._size
        return self._utterances[start : start + self._size]


class Sampler:
    """Batches of utterances of similar length.

    lengths: (n,) of all utterances, in any unit; usable: (m,) indices of those to train on. Each epoch has every one of
    them in exactly one batch, apart from those that the curriculum does not admit yet: in epoch e, counted from 0, it
    admits lengths up to `shortest + (longest - shortest) e / curriculum_epochs`, and at least one batch.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        usable: np.ndarray,
        batch: int,
        buckets: int,
        seed: int,
        curriculum_epochs: float = 0.0,
        shortest: float = 0.0,
        longest: float = 0.0,
    ):
        # Length and index share one number: sorting these in place takes half the memory and time of argsort.
        keys = lengths[usable].astype(np.int64)
        keys <<= 32
        keys |= np.arange(len(usable), dtype=np.uint32)
        keys.sort()
        keys &= 0xFFFFFFFF
        self._usable = usable[keys].astype(np.int32, copy=False)  # from short to long
        self._lengths, self._batch, self._buckets, self._seed = lengths, batch, buckets, seed
        self._curriculum_epochs, self._shortest, self._longest = curriculum_epochs, shortest, longest

    def admitted(self, epoch: int) -> int:
        """Return the number of utterances that the curriculum admits in this epoch."""
        if epoch >= self._curriculum_epochs:
            return len(self._usable)
        limit = self._shortest + (self._longest - self._shortest) * epoch / self._curriculum_epochs
        admitted = bisect_right(self._usable, limit, key=lambda i: self._lengths[i])
        return min(len(self._usable), max(admitted, self._batch))

    def batches(self, epoch: int) -> Batches:
        """Return the epoch's batches of utterance indices.

        The last ones of the buckets are merged, so at most one batch is smaller than the others.
        """
        rng = np.random.default_rng([self._seed, epoch])
        whole, left = [], []
        for bucket in np.array_split(self._usable[: self.admitted(epoch)], self._buckets):
            bucket = rng.permutation(bucket)
            end = len(bucket) - len(bucket) % self._batch
            whole.append(bucket[:end])
            left.append(bucket[end:])
        return Batches(np.concatenate(whole + left), self._batch, rng.permutation(self.steps(epoch)))

    def steps(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-self.admitted(epoch) // self._batch)


def batches_by_length(lengths: Sequence[int] | np.ndarray, batch: int, limit: int) -> Iterator[list[int]]:
    """Yield the indices of all utterances in batches for decoding, short utterances first.

    A batch holds at most `batch` utterances and, padded, a total length of at most `limit`. An utterance longer than
    that gets a batch to itself.
    """
    chosen: list[int] = []
    for i in np.argsort(lengths, kind="stable").tolist():
        if chosen and (len(chosen) == batch or (len(chosen) + 1) * lengths[i] > limit):
            yield chosen
            chosen = []
        chosen.append(i)
    if chosen:
        yield chosen
