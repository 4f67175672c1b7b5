"""Texts that are too dense for the CTC loss of a run: they have more symbols than the encoder has frames."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch

from rnnt.config import AugmentConfig
from rnnt.frames import stacked_lengths
from rnnt.symbol_input import Input
from rnnt.tokenizer import Tokenizer

_WORTH_A_NOTE = 0.01  # share of the utterances


def ctc_frames(symbols: Sequence[int]) -> int:
    """Count the frames that a CTC loss needs for these symbols: one for each, and one between two equal ones."""
    return len(symbols) + sum(a == b for a, b in pairwise(symbols))


def dense_texts(
    texts: Iterable[str],
    lengths: np.ndarray,
    tokenizer: Tokenizer,
    features: Input,
    stride: int,
    augment: AugmentConfig,
) -> str:
    """Return a line about the utterances that the CTC loss passes over, "" if they are less than 1 %.

    The CTC loss of such an utterance is infinite and counts as 0, so it teaches the encoder nothing. lengths: (N,),
    samples of the utterances, or symbols of their input. stride: the encoder's. augment: its fastest speed and tempo
    leave the fewest frames.
    """
    needed = np.fromiter((ctc_frames(tokenizer.encode(text)) for text in texts), np.int64, len(lengths))
    counts = []
    for tempo in (1.0, augment.speed_max * augment.tempo_max):
        num_frames = features.num_frames(torch.from_numpy(np.ceil(lengths / tempo)).long())
        counts.append(int((needed > stacked_lengths(num_frames, features.joined, stride).numpy()).sum()))
    if max(counts) < _WORTH_A_NOTE * len(lengths):
        return ""
    fast = "" if counts[0] == counts[1] else f", and over {counts[1]} at the fastest speed and tempo"
    return (
        f"the CTC loss (train.ctc_weight) passes over {counts[0]} of {len(lengths)} utterances{fast}: they have more "
        "symbols than encoder frames; make the frames shorter (features.stack, the encoder's time_stack or subsampling)"
        " or the symbols longer (tokenizer)"
    )
