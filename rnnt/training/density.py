"""Texts that are too dense for the CTC loss of a run: they have more symbols than the encoder has frames."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch

from rnnt.config import AugmentConfig
from rnnt.symbol_input import Input
from rnnt.tokenizer import Tokenizer

_WORTH_A_NOTE = 0.01  # share of the utterances


def ctc_frames(symbols: Sequence[int]) -> int:
    """Count the frames that a CTC loss needs for these symbols: one for each, and one between two equal ones."""
    return len(symbols) + sum(a == b for a, b in pairwise(symbols))


def encoder_frames(features: Input, stride: int, num_samples: np.ndarray) -> np.ndarray:
    """Count the encoder's frames of inputs of this many samples (or symbols). stride: the encoder's."""
    frames = features.num_frames(torch.from_numpy(num_samples)).numpy()
    for joined in (features.joined, stride):
        frames = (frames + joined - 1) // joined
    return frames


def dense_texts(
    texts: Iterable[str],
    lengths: np.ndarray,
    tokenizer: Tokenizer,
    features: Input,
    stride: int,
    augment: AugmentConfig,
) -> str:
    """Return a line about the utterances that the CTC loss passes over, "" if they are less than 1 %.

    The loss of such an utterance would be infinite. It counts as 0, so the encoder learns nothing from it in this way.
    lengths: (N,), samples of the utterances, or symbols of their input. augment: its fastest speed and tempo leave the
    fewest frames.
    """
    needed = np.fromiter((ctc_frames(tokenizer.encode(text)) for text in texts), np.int64, len(lengths))
    counts = [
        int((needed > encoder_frames(features, stride, np.ceil(lengths / tempo).astype(np.int64))).sum())
        for tempo in (1.0, augment.speed_max * augment.tempo_max)
    ]
    if max(counts) < _WORTH_A_NOTE * len(lengths):
        return ""
    fast = "" if counts[0] == counts[1] else f", and over {counts[1]} at the fastest speed and tempo"
    return (
        f"the CTC loss (train.ctc_weight) passes over {counts[0]} of {len(lengths)} utterances{fast}: they have more "
        "symbols than encoder frames; make the frames shorter (features.stack, the encoder's time_stack or subsampling)"
        " or the symbols longer (tokenizer)"
    )
