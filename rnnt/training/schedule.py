"""The learning rate as a pure function of progress: nothing to save, nothing to restore.

Progress is `epoch`, the epochs completed before a step: (steps taken) / (steps an epoch), 0.0 at the first step.
"""

from __future__ import annotations

import math


def warmup_hold_decay(epoch: float, lr: float, warmup: float, hold: float, decay: float, minimum: float) -> float:
    """MLPerf's schedule for RNN-T: linear warm-up, hold, then a factor of `decay` for each epoch.

    `warmup` and `hold` are in epochs (fractions allowed, 0 leaves that part out). The rate grows with every step of the
    warm-up, and falls in stairs: the first epoch after the hold takes lr * decay, the next lr * decay**2, ... as in the
    reference, where epochs count from 1. Never below `minimum`, the warm-up included.
    """
    if epoch < warmup:
        factor = epoch / warmup
    elif epoch < warmup + hold:
        factor = 1.0
    else:
        factor = decay ** (math.floor(epoch - warmup - hold) + 1)
    return max(factor * lr, minimum)


def cosine(epoch: float, lr: float, warmup: float, total: float, minimum: float) -> float:
    """Linear warm-up over `warmup` epochs, then half a cosine from `lr` to `minimum` at epoch `total` and after it.

    Never below `minimum`, the warm-up included. A run that ends within its warm-up (total <= warmup) only warms up.
    """
    if epoch < warmup:
        return max(lr * epoch / warmup, minimum)
    if epoch >= total:
        return minimum
    phase = (epoch - warmup) / (total - warmup)
    return max(minimum + (lr - minimum) * 0.5 * (1 + math.cos(math.pi * phase)), minimum)
