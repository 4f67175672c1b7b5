"""Shares of a batch: the utterances that a process works through at a time."""

from dataclasses import dataclass

import numpy as np

from rnnt.config import TrainConfig
from rnnt.training.distributed import Processes


@dataclass(frozen=True)
class Share:
    """Utterances of a batch that go through the model together.

    number: of this share among all shares of the batch, in all processes. It seeds augmentation and dropout, so they do
    not depend on which process works it through.
    indices: of its utterances in the dataset.
    weight: 1, or 0 for a share that must not count (see `own_shares`).
    """

    number: int
    indices: np.ndarray
    weight: float


def own_shares(batch: np.ndarray, accumulation: int, processes: Processes) -> list[Share]:
    """Divide a batch of utterance indices into accumulation x processes shares; return those of this process.

    The division depends on the product alone, and every share has a mixture of durations like the batch's. If the batch
    is too small to give this process a share, it gets one utterance of weight 0, because all processes must take part
    in the sum of the gradients.
    """
    count = accumulation * processes.count
    numbers = range(processes.rank, min(count, len(batch)), processes.count)
    return [Share(i, batch[i::count], 1.0) for i in numbers] or [Share(processes.rank, batch[:1], 0.0)]


def check_shares(train: TrainConfig, processes: Processes) -> None:
    """Raise ValueError if batches cannot be divided into shares of equal size."""
    count = train.accumulation * processes.count
    if train.batch % count:
        raise ValueError(f"train.batch ({train.batch}) is not a multiple of train.accumulation x processes ({count})")
