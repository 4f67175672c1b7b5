"""Slaney's mel scale, and the triangular filters whose corners are evenly spaced on it (Auditory Toolbox, 1998)."""

import math

import torch


def hz_to_mel(hz: torch.Tensor) -> torch.Tensor:
    """Convert frequencies to mel: linear below 1 kHz, logarithmic above."""
    return torch.where(hz < 1000, hz * 3 / 200, 15 + 27 * torch.log(hz.clamp(min=1) / 1000) / math.log(6.4))


def mel_to_hz(mel: torch.Tensor) -> torch.Tensor:
    """Convert mel to frequencies: the inverse of `hz_to_mel`."""
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27))


def mel_corners(mels: int, low_hz: float, high_hz: float) -> torch.Tensor:
    """Return the corners (mels + 2,) of `mels` filters, in Hz, float64. Filter i rises from corner i, peaks at i + 1
    and falls to zero at i + 2."""
    low, high = hz_to_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64))
    return mel_to_hz(torch.linspace(low, high, mels + 2, dtype=torch.float64))


def mel_filters(hz: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """Evaluate the filters at frequencies (..., 1): weights (..., mels). Each filter has area 1, as Slaney's have."""
    low, peak, high = corners[:-2], corners[1:-1], corners[2:]
    triangles = torch.minimum((hz - low) / (peak - low), (high - hz) / (high - peak)).clamp(min=0)
    return triangles * (2 / (high - low))


def guarded_log(power: torch.Tensor, floor: float, guard: str) -> torch.Tensor:
    """Return the logarithm of powers: guard "add" adds the floor to each, and "max" raises those below it."""
    return torch.log(power.clamp(min=floor) if guard == "max" else power + floor)
