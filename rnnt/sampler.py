"""Which utterances make up which batch: a pure function of seed and epoch, so that any position can be resumed."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from rnnt.config import DataConfig, TrainConfig


class Batches(Sequence[np.ndarray]):
    """The batches of an epoch, each an int32 array of utterance indices; a slice of them is of the same kind.

    They are cut out of one array of utterances when they are asked for: as many objects would weigh more than it.
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
    """Batches of utterances of like duration.

    num_samples: (n,) of all utterances; usable: (m,) indices of those to train on. In each epoch every one of them is
    in exactly one batch (of those that the curriculum admits yet).
    """

    def __init__(
        self,
        num_samples: np.ndarray,
        usable: np.ndarray,
        sample_rate: int,
        data: DataConfig,
        train: TrainConfig,
        seed: int,
    ):
        # Length and place in one number: sorting these in place takes half the memory and time of argsort.
        keys = num_samples[usable].astype(np.int64)
        keys <<= 32
        keys |= np.arange(len(usable), dtype=np.uint32)
        keys.sort()
        keys &= 0xFFFFFFFF
        self._usable = usable[keys].astype(np.int32, copy=False)  # from short to long
        self._num_samples, self._sample_rate = num_samples, sample_rate
        self._data, self._train, self._seed = data, train, seed

    def admitted(self, epoch: int) -> int:
        """Utterances that the length curriculum admits in this epoch, counted from 0."""
        longest, start = self._data.max_seconds, self._train.curriculum_seconds
        if epoch >= self._train.curriculum_epochs:
            return len(self._usable)
        limit = start + (longest - start) * epoch / self._train.curriculum_epochs
        admitted = bisect_right(self._usable, limit, key=lambda i: self._num_samples[i] / self._sample_rate)
        return min(len(self._usable), max(admitted, self._train.batch))

    def batches(self, epoch: int) -> Batches:
        """The epoch's batches of utterance indices; the last ones of the buckets are merged, so one may be smaller."""
        rng = np.random.default_rng([self._seed, epoch])
        size = self._train.batch
        whole, left = [], []
        for bucket in np.array_split(self._usable[: self.admitted(epoch)], self._data.buckets):
            bucket = rng.permutation(bucket)
            end = len(bucket) - len(bucket) % size
            whole.append(bucket[:end])
            left.append(bucket[end:])
        return Batches(np.concatenate(whole + left), size, rng.permutation(self.steps(epoch)))

    def steps(self, epoch: int) -> int:
        """Batches in an epoch."""
        return -(-self.admitted(epoch) // self._train.batch)
