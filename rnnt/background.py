"""Sounds without words: the background of a recording, noise that sounds like it, stationary noise and hum."""

import math

import numpy as np

_QUIET_SHARE = 0.15  # this share of a recording's frames, the quietest ones, gives its noise floor
_CURVES = 3  # cosines over the frequencies that shape the spectrum of `stationary_noise`
_HARMONICS = 8


def noise_floor(samples: np.ndarray, size: int) -> np.ndarray:
    """Return the amplitude spectrum (size // 2 + 1,) of the quietest frames of a recording (N,).

    size: samples in a frame. The unit is that of the samples; `noise_like` makes noise of this spectrum.
    """
    padded = np.pad(samples, (0, max(size - len(samples), 0))).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    window = np.hanning(size).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window)) ** 2 / np.sum(window**2)
    quietest = np.argsort(power.sum(axis=1))[: max(round(_QUIET_SHARE * len(power)), 1)]
    return np.sqrt(power[quietest].mean(axis=0))


def noise_like(floor: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Return Gaussian noise (length,), float32, with the amplitude spectrum `floor`."""
    if length == 0:
        return np.zeros(0, np.float32)
    white = np.fft.rfft(rng.standard_normal(length))
    gain = np.interp(np.linspace(0, 1, len(white)), np.linspace(0, 1, len(floor)), floor)
    return np.fft.irfft(white * gain, length).astype(np.float32)


def quietest_stretch(samples: np.ndarray, size: int) -> np.ndarray:
    """Return the stretch of `size` samples with the least power, or all samples (N,) if there are not so many."""
    if len(samples) <= size:
        return samples
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    start = int(np.argmin(energy[size:] - energy[:-size]))
    return samples[start : start + size]


def repeat_back_and_forth(stretch: np.ndarray, length: int) -> np.ndarray:
    """Return `length` samples: the stretch (N,), the stretch reversed, and so on, without jumps between them."""
    there_and_back = np.concatenate([stretch, stretch[::-1]])
    return np.resize(there_and_back, length)


def stationary_noise(length: int, dbfs: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise (length,), float32, with a random smooth spectrum. dbfs: its level; full scale is 32768."""
    place = np.linspace(0, math.pi, 65)
    curves = np.stack([np.cos(k * place) for k in range(1, _CURVES + 1)])
    return scale_to(noise_like(np.exp(rng.standard_normal(_CURVES) @ curves), length, rng), dbfs)


def hum(length: int, dbfs: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return the hum (length,), float32, of a machine or of the mains: a steady tone with a few harmonics."""
    low = rng.uniform(45, 130)
    hz = low * np.arange(1, _HARMONICS + 1)
    hz = hz[hz < sample_rate / 2]
    strength = rng.exponential(size=len(hz)) / np.arange(1, len(hz) + 1)
    phase = 2 * math.pi * (hz[:, None] * np.arange(length) / sample_rate + rng.random((len(hz), 1)))
    return scale_to((strength @ np.sin(phase)).astype(np.float32), dbfs)


def scale_to(samples: np.ndarray, dbfs: float) -> np.ndarray:
    """Scale samples (N,), which are not all zero, to a level in dB relative to a full scale of 32768."""
    power = np.mean(np.square(samples, dtype=np.float64))
    return samples * np.float32(32768 * 10 ** (dbfs / 20) / math.sqrt(power))
