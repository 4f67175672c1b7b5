"""Padded batches of frames: which places are valid, stacking in time, reversal in time, frames from a place on."""

import torch
from torch.nn import functional as F


def valid_places(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """Return (B, size), true at the first `lengths` (B,) places of each utterance."""
    return torch.arange(size, device=lengths.device)[None] < lengths[:, None]


def stacked_lengths(lengths: torch.Tensor, *stacks: int) -> torch.Tensor:
    """Count the frames (B,) that are left of `lengths` (B,) when every `stack` of them are joined to one.

    A last frame that is not full counts too. With several stacks, they are joined once for each.
    """
    for stack in stacks:
        lengths = torch.div(lengths + stack - 1, stack, rounding_mode="floor")
    return lengths


def stack_frames(x_BSF: torch.Tensor, lengths: torch.Tensor, stack: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Join every `stack` neighbouring frames to one: (B, S, F) -> (B, ceil(S / stack), F stack) and their lengths (B,).

    The last frame of an utterance is padded with zeros. Frames beyond the lengths must be zero already.
    """
    batch, frames, width = x_BSF.shape
    x_BSF = F.pad(x_BSF, (0, 0, 0, -frames % stack))
    return x_BSF.reshape(batch, -1, width * stack), stacked_lengths(lengths, stack)


def reverse_frames(x_BSF: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverse the first `lengths` (B,) frames of each utterance in time; the frames after them stay in place."""
    place = torch.arange(x_BSF.shape[1], device=x_BSF.device)[None]
    source = torch.where(valid_places(lengths, x_BSF.shape[1]), lengths[:, None] - 1 - place, place)
    return x_BSF.gather(1, source[:, :, None].expand_as(x_BSF))


def frames_from(x_BSF: torch.Tensor, starts: torch.Tensor, count: int) -> torch.Tensor:
    """Return (B, count, F): frames of each utterance from `starts` (B,) on. After the last frame they are arbitrary."""
    places_BT = (starts[:, None] + torch.arange(count, device=starts.device)).clamp(max=max(x_BSF.shape[1] - 1, 0))
    return x_BSF.gather(1, places_BT[:, :, None].expand(-1, -1, x_BSF.shape[2]))
