"""The encoder's frames of a recording of any length, in bounded memory, for encoders that need whole utterances.

A long recording is encoded in windows, each as if it were an utterance. Of each window, the frames near its two ends
are left out: the windows overlap there, and the neighbour has more context. Features that are normalized over an
utterance are normalized over a window, which is about as long as the utterances that models are trained on.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from rnnt.loader import collate

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

WHOLE_SECONDS = 30.0  # a recording up to this length is one window
CORE_SECONDS = 20.0  # of a window, without the margins; at most
MARGIN_SECONDS = 3.0  # at either end, left out
_BATCH = 8  # windows encoded together


def encode_windows(
    recognizer: Recognizer,
    samples: np.ndarray,
    whole_seconds: float = WHOLE_SECONDS,
    core_seconds: float = CORE_SECONDS,
    margin_seconds: float = MARGIN_SECONDS,
) -> torch.Tensor:
    """Return the encoder's frames (1, T, D) of int16 samples (N,), N at least 1. Belongs inside `inference()`.

    A recording up to `whole_seconds` is encoded whole, as for transcription.
    """
    rate, step = recognizer.config.features.sample_rate, recognizer.frame_seconds
    stride = round(step * rate)  # samples of a frame
    total = -(-len(samples) // stride)
    if len(samples) <= whole_seconds * rate:
        return _encode(recognizer, [samples])[0]
    margin = round(margin_seconds / step)
    count = -(-total // max(round(core_seconds / step), 1))
    bounds = [total * i // count for i in range(count + 1)]
    spans = list(pairwise(bounds))
    encoder_1TD = None
    for place in range(0, count, _BATCH):
        batch = spans[place : place + _BATCH]
        begins = [max(start - margin, 0) for start, _ in batch]
        inputs = [samples[begin * stride : (end + margin) * stride] for begin, (_, end) in zip(begins, batch)]
        window_BTD, _ = _encode(recognizer, inputs)
        if encoder_1TD is None:
            encoder_1TD = window_BTD.new_empty(1, total, window_BTD.shape[2])
        for row, begin, (start, end) in zip(window_BTD, begins, batch):
            encoder_1TD[0, start:end] = row[start - begin : end - begin]
    return encoder_1TD


def _encode(recognizer: Recognizer, inputs: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    batch = collate(inputs, [[]] * len(inputs), [""] * len(inputs))
    return recognizer.encode(batch.to(recognizer.device))
