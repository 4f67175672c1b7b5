"""Statistics of the loud frames of utterances, by which features can be made independent of silence around the words.

B utterances of a batch, S frames, F mel bins.
"""

import math

import torch
from torch.nn import functional as F

from rnnt.frames import valid_places

_LOUD_NEPERS = 20 / 10 * math.log(10)  # how far below the loudest frame a frame still counts as loud: 20 dB of power
_LOUD_DEVIATION = 1.5  # of log power; speech has more, and stationary noise has half of it, so it stays small
_LOUD_FRAMES = 20  # frames that are so near to a loud one count as well: soft sounds of words, and short pauses


def peak_power(mel_BSF: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
    """Return the power (B, 1, 1) of each utterance's loudest frame, averaged over the bins."""
    power_BS = mel_BSF.mean(2).masked_fill(~valid_places(num_frames, mel_BSF.shape[1]), 0.0)
    return power_BS.amax(1)[:, None, None]


def normalize_loud(x_BSF: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
    """Subtract the mean of each bin, and divide by one deviation for all, of the frames in and around the loud ones.

    So silence before, between and after the words hardly changes the frames of the words. The weight of a frame falls
    smoothly with its level, from 0.99 to 0.01 within 10 dB. A deviation below `_LOUD_DEVIATION` counts as that much.
    """
    padding_BS = ~valid_places(num_frames, x_BSF.shape[1])
    x_BSF = x_BSF.masked_fill(padding_BS[:, :, None], 0.0)
    level_BS = x_BSF.logsumexp(2).masked_fill(padding_BS, -math.inf)
    loud_BS = torch.sigmoid(4 * (level_BS - level_BS.amax(1, keepdim=True) + _LOUD_NEPERS))
    near_BS = F.max_pool1d(loud_BS[:, None], 2 * _LOUD_FRAMES + 1, stride=1, padding=_LOUD_FRAMES)[:, 0]
    weight_BS1 = near_BS.masked_fill(padding_BS, 0.0)[:, :, None]
    count_B11 = weight_BS1.sum(1, keepdim=True)
    centred_BSF = x_BSF - (x_BSF * weight_BS1).sum(1, keepdim=True) / count_B11
    variance_B1F = (centred_BSF.square() * weight_BS1).sum(1, keepdim=True) / (count_B11 - 1).clamp(min=1)
    return centred_BSF / variance_B1F.mean(2, keepdim=True).sqrt().clamp(min=_LOUD_DEVIATION)
