"""Statistics of the training data by which features are normalised."""

import numpy as np
import torch

from rnnt.features import Features
from rnnt.frames import valid_places
from rnnt.loader import Loader
from rnnt.training.data import TrainingData
from rnnt.training.distributed import Processes

_UTTERANCES = 2000  # measured at most


def fit(features: Features, data: TrainingData, seed: int, processes: Processes) -> None:
    """Give all processes' features the mean and deviation of the training data that the first process measures."""
    mean, std = processes.from_main(lambda: measure(features, data.loader, data.usable, seed))
    features.mean.copy_(mean)
    features.std.copy_(std)


def measure(features: Features, loader: Loader, usable: np.ndarray, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation, both (D,) and on the CPU, of each value over the frames of utterances.

    usable: indices of utterances, of which a sample is drawn with the seed.
    """
    sample = np.random.default_rng(seed).permutation(usable)[:_UTTERANCES]
    total, squares, count = 0.0, 0.0, 0
    for batch in loader.batches(np.array_split(sample, -(-len(sample) // 32))):
        frames, lengths = features.values(batch.inputs, batch.input_lengths)
        valid = frames[valid_places(lengths, frames.shape[1])].double()
        total, squares, count = total + valid.sum(0), squares + valid.square().sum(0), count + len(valid)
    mean = total / count
    return mean.cpu(), (squares / count - mean.square()).clamp(min=0).sqrt().cpu()
