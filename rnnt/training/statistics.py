"""Statistics of the training data that features are normalised by."""

import numpy as np
import torch

from rnnt.features import Features
from rnnt.frames import valid_places
from rnnt.loader import Loader

_UTTERANCES = 2000


def measure(features: Features, loader: Loader, usable: np.ndarray, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (mels,) of each mel bin over a sample of the `usable` utterances, on the host."""
    sample = np.random.default_rng(seed).permutation(usable)[:_UTTERANCES]
    total, squares, count = 0.0, 0.0, 0
    for batch in loader.batches(np.array_split(sample, -(-len(sample) // 32))):
        mel, frames = features.log_mel(batch.inputs, batch.input_lengths.to(batch.inputs.device))
        valid = mel[valid_places(frames, mel.shape[1])].double()
        total, squares, count = total + valid.sum(0), squares + valid.square().sum(0), count + len(valid)
    mean = total / count
    return mean.cpu(), (squares / count - mean.square()).clamp(min=0).sqrt().cpu()
