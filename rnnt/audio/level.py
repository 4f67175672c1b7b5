"""The level of samples: full scale, which is 1, and channels that cancel each other."""

from collections.abc import Iterable, Iterator

import numpy as np

# Loud recordings exceed full scale now and then, and are clipped there. Samples that are far beyond were not scaled.
_MAX_PEAK = 8.0
_MAX_CLIPPED = 0.05  # share of the samples
_MIN_CLIPPED = 800  # samples: 50 ms at 16 kHz

_MIN_POWER = 1e-9  # of a channel: -90 dB
_CANCELLED = 0.1  # 10 dB less than the mean of independent channels has


def mono_blocks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Average the channels of float blocks (N, C) of one recording, and yield each as (N,).

    Raises ValueError if samples are NaN, infinite or far beyond 1, and after the last block if many are beyond 1 or the
    channels cancel each other.
    """
    count = clipped = 0
    powers = np.zeros(2)  # sums over the samples: the mean over the channels, and that of their average
    channels = 1
    for block in blocks:
        count, channels = count + len(block), block.shape[1]
        if highest_sample(block) > 1:
            clipped += np.count_nonzero(np.abs(block) > 1) / channels
        if channels == 1:
            yield block[:, 0]
        elif count:
            powers += _powers(block)
            # Two columns are added in a fifth of the time that a mean takes, with the same result.
            yield (block[:, 0] + block[:, 1]) / 2 if channels == 2 else block.mean(axis=1)
    if clipped > max(_MAX_CLIPPED * count, _MIN_CLIPPED):
        raise ValueError(
            f"is too loud ({100 * clipped / count:.0f} % of its samples are beyond full scale, which is 1)"
        )
    if powers[0] > count * _MIN_POWER and powers[1] < _CANCELLED / channels * powers[0]:
        raise ValueError("has channels of opposite phase, which cancel when they are averaged; invert or remove one")


def highest_sample(block: np.ndarray) -> float:
    """Return the largest magnitude of float samples. Raises ValueError if one is NaN, infinite or far beyond 1."""
    highest = max(float(block.max()), -float(block.min())) if block.size else 0.0  # NaN if a sample is NaN
    if not np.isfinite(highest):
        raise ValueError("holds samples that are NaN or infinite")
    if highest > _MAX_PEAK:
        raise ValueError(
            f"holds samples of up to {highest:.6g}, but full scale is 1; divide them, 16-bit integers by 32768"
        )
    return highest


def _powers(block: np.ndarray) -> np.ndarray:
    """Return the summed power of the channels' mean, and that of their average, without the constant parts."""
    rows = np.ascontiguousarray(block.T)
    products = rows @ rows.T - len(block) * np.outer(means := rows.mean(axis=1), means)
    return np.array([np.trace(products) / len(products), products.sum() / len(products) ** 2])
