"""The level of samples: they are finite, and of one channel."""

from collections.abc import Iterable, Iterator

import numpy as np


def mono_blocks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Average the channels of float blocks (N, C) of one recording, and yield each as (N,).

    Raises ValueError if samples are NaN or infinite.
    """
    for block in blocks:
        if not np.isfinite(block).all():
            raise ValueError("holds samples that are NaN or infinite")
        yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
