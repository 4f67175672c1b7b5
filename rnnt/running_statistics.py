"""The normalization `running`: by the mean and the deviation of the frames so far, so that streams can have it.

A prior stands for some seconds of speech before the first frame: the mean and the deviation of the training data. So
the first frames are normalized sensibly, and a long stream in the end by its own statistics alone.

The sums are whole numbers, of units of 2**-20. Adding these is exact, so a frame does not depend on how a stream was
divided into chunks, or on the device.

B utterances or streams, S frames, D values of a frame.
"""

from typing import NamedTuple

import torch

from rnnt.frames import valid_places

_UNITS = 1 << 20  # of the sums; the mean of a value is exact to a millionth


class RunningSums(NamedTuple):
    """The sums over the frames of each stream so far."""

    count: torch.Tensor  # (B,), frames
    total: torch.Tensor  # (B, D), of the values less the prior's mean, in units, int64
    squares: torch.Tensor  # (B, D), of the squares of these, in units, int64


def start_sums(batch: int, mean: torch.Tensor) -> RunningSums:
    """Return the sums of streams before their first frame. mean: the prior's (D,)."""
    zeros = torch.zeros(batch, len(mean), dtype=torch.int64, device=mean.device)
    return RunningSums(zeros.new_zeros(batch), zeros, zeros)


def normalize_running(
    x_BSD: torch.Tensor, lengths: torch.Tensor, sums: RunningSums, mean: torch.Tensor, std: torch.Tensor, prior: float
) -> tuple[torch.Tensor, RunningSums]:
    """Normalize more frames (B, S, D) of each stream, the first `lengths` (B,) of which are valid.

    mean, std: the prior's (D,); prior: the number of frames that it counts for. Returns the frames and the new sums. A
    frame is normalized by the statistics of the prior, of all frames before it, and of the frame itself.
    """
    padding_BS1 = ~valid_places(lengths, x_BSD.shape[1])[:, :, None]
    centred_BSD = (x_BSD.masked_fill(padding_BS1, 0.0) - mean).masked_fill(padding_BS1, 0.0).double()
    total_BSD = sums.total[:, None] + (centred_BSD * _UNITS).round().long().cumsum(1)
    squares_BSD = sums.squares[:, None] + (centred_BSD.square() * _UNITS).round().long().cumsum(1)
    count_BS1 = (sums.count[:, None] + torch.arange(1, x_BSD.shape[1] + 1, device=x_BSD.device))[:, :, None] + prior
    shift_BSD = total_BSD / (_UNITS * count_BS1)
    variance_BSD = (squares_BSD / _UNITS + prior * std.double().square()) / count_BS1 - shift_BSD.square()
    normalized_BSD = (centred_BSD - shift_BSD) / (variance_BSD.clamp(min=0).sqrt() + 1e-5)
    if x_BSD.shape[1]:
        sums = RunningSums(sums.count + lengths, total_BSD[:, -1], squares_BSD[:, -1])
    return normalized_BSD.to(x_BSD.dtype), sums
