"""Which utterances make up which batch: a pure function of seed and epoch, so that any position can be resumed."""

import numpy as np

from rnnt.config import DataConfig, TrainConfig


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
        self._seconds = num_samples[usable] / sample_rate
        order = np.argsort(self._seconds, kind="stable")
        self._usable, self._seconds = usable[order], self._seconds[order]
        self._data, self._train, self._seed = data, train, seed

    def admitted(self, epoch: int) -> int:
        """Utterances that the length curriculum admits in this epoch, counted from 0."""
        longest, start = self._data.max_seconds, self._train.curriculum_seconds
        if epoch >= self._train.curriculum_epochs:
            return len(self._usable)
        limit = start + (longest - start) * epoch / self._train.curriculum_epochs
        admitted = int(np.searchsorted(self._seconds, limit, side="right"))
        return min(len(self._usable), max(admitted, self._train.batch))

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The epoch's batches of utterance indices; the last ones of the buckets are merged, so one may be smaller."""
        rng = np.random.default_rng([self._seed, epoch])
        size = self._train.batch
        buckets = np.array_split(self._usable[: self.admitted(epoch)], self._data.buckets)
        whole, left = [], []
        for bucket in buckets:
            bucket = rng.permutation(bucket)
            end = len(bucket) - len(bucket) % size
            whole += [bucket[i : i + size] for i in range(0, end, size)]
            left.append(bucket[end:])
        rest = np.concatenate(left)
        whole += [rest[i : i + size] for i in range(0, len(rest), size)]
        return [whole[i] for i in rng.permutation(len(whole))]

    def steps(self, epoch: int) -> int:
        """Batches in an epoch."""
        return -(-self.admitted(epoch) // self._train.batch)
