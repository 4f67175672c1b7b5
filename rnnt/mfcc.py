"""Mel-frequency cepstral coefficients, as HTK computes them (Young et al., The HTK Book, chapter 5).

A frame has the cepstra 1 to C of the logarithms of its filters' outputs, the logarithm of its energy, and the rate at
which each of these values changes. The frames before an utterance's first and after its last count as copies of it.

    B  utterances of a batch
    S  frames, one per hop
    K  Fourier bins
    F  mel filters
    C  cepstral coefficients, without the zeroth
    D  values of a frame that are differentiated: C + 1
"""

import math

import torch

_LIFTER = 22  # HTK's CEPLIFTER. It scales each coefficient, so that normalisation by its deviation takes it back.
_REACH = 2  # HTK's DELTAWINDOW: frames on either side that a rate of change is estimated from


def hz_to_htk_mel(hz: torch.Tensor) -> torch.Tensor:
    """Convert frequencies to HTK's mel scale."""
    return 2595 * torch.log10(1 + hz / 700)


def htk_corners(mels: int, low_hz: float, high_hz: float) -> torch.Tensor:
    """Return the corners (mels + 2,) of `mels` filters, evenly spaced in HTK's mel, float64.

    Filter i rises from corner i, peaks at i + 1 and falls to zero at i + 2.
    """
    low, high = hz_to_htk_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64))
    return torch.linspace(low, high, mels + 2, dtype=torch.float64)


def htk_filters(hz: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """Evaluate the filters at frequencies (..., 1): weights (..., mels). They are triangles in mel, of height 1."""
    mel = hz_to_htk_mel(hz)
    low, peak, high = corners[:-2], corners[1:-1], corners[2:]
    return torch.minimum((mel - low) / (peak - low), (high - mel) / (high - peak)).clamp(min=0)


def frame_energy(power_BSK: torch.Tensor, n_fft: int) -> torch.Tensor:
    """Return the sum of the squared samples (B, S, 1) of windowed frames with these power spectra (Parseval)."""
    both = 2 * power_BSK.sum(2) - power_BSK[:, :, 0]  # every bin stands for two frequencies, but the first does not,
    return ((both - power_BSK[:, :, -1] if n_fft % 2 == 0 else both) / n_fft)[:, :, None]  # nor does Nyquist's


def cepstra(log_BSF: torch.Tensor, coefficients: int) -> torch.Tensor:
    """Return the cepstral coefficients 1 to C, liftered, of the logarithms of filters' magnitudes: (B, S, C)."""
    mels = log_BSF.shape[2]
    place_F = torch.arange(mels, dtype=torch.float64) + 0.5
    order_C = torch.arange(1, coefficients + 1, dtype=torch.float64)
    lifter_C = 1 + _LIFTER / 2 * torch.sin(math.pi * order_C / _LIFTER)
    cosines_FC = math.sqrt(2 / mels) * torch.cos(math.pi / mels * place_F[:, None] * order_C) * lifter_C
    return log_BSF @ cosines_FC.to(log_BSF)


def with_deltas(x_BSD: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
    """Append to each value the slope of the regression line through it and its neighbours in time: (B, S, 2 D).

    Two frames on either side are its neighbours. num_frames: (B,), valid frames.
    """
    place_1S = torch.arange(x_BSD.shape[1], device=x_BSD.device)[None]
    last_B1 = (num_frames - 1).clamp(min=0)[:, None]

    def moved(by: int) -> torch.Tensor:
        place_BS = torch.minimum((place_1S + by).clamp(min=0), last_B1)
        return x_BSD.gather(1, place_BS[:, :, None].expand_as(x_BSD))

    slope = sum(by * (moved(by) - moved(-by)) for by in range(1, _REACH + 1))
    return torch.cat([x_BSD, slope / (2 * sum(by * by for by in range(1, _REACH + 1)))], dim=2)
