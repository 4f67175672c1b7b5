"""Noise to mix with speech: recordings from a folder, voices of other utterances, or noise that is made.

Every source draws from a generator of random numbers alone, so a seed repeats what it gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from rnnt.background import noise_like
from rnnt.dataset import Dataset
from rnnt.sound_folder import SoundFolder, open_sound_folder

MADE = ("babble", "speech-shaped", "white")  # every other name is that of a folder
_LEAST_SECONDS = 0.1  # of a recording of noise; a shorter one, repeated, would be a tone
_VOICES = 5  # that talk at once in babble
_TRIES = 8  # to find a stretch of a recording that is not almost silent
_LEAST_POWER = 0.01  # of a stretch, relative to its recording
_RMS = 2000.0  # of noise that is made, in int16 steps
_BLOCK = 1024

# Long-term average spectrum of speech in 12 languages (Byrne et al. 1994, doi 10.1121/1.410152): dB in the third-octave
# bands from 63 Hz to 16 kHz.
_SPEECH_DB = (
    38.6, 43.5, 54.4, 57.7, 56.8, 60.2, 60.3, 59.0, 62.1, 62.1, 60.5, 56.8, 53.7, 53.0, 52.0, 48.7, 48.1, 46.8, 45.6,
    44.5, 44.3, 43.7, 43.4, 41.3, 40.7,
)  # fmt: skip
_LOWEST_BAND = 63.0  # Hz, its middle


class Noise(Protocol):
    """A source of noise. name: for messages. fingerprint: changes with the recordings, empty if there are none.
    note: a line about recordings that are left out, or empty.
    """

    name: str
    fingerprint: str
    note: str

    def draw(self, length: int, rng: np.random.Generator, id: str = "") -> np.ndarray:
        """Return noise, int16 (length,), to mix with the utterance with this id."""


def open_noise(name: str, sample_rate: int, dataset: Dataset, cache: Path) -> Noise:
    """Return the noise that a setting names: a folder of recordings, or one of `MADE`.

    dataset: whose utterances are the voices of babble. cache: a folder for decoded recordings if nothing can be written
    next to theirs. Raises ValueError if the folder holds no recording that can be used.
    """
    if name == "babble":
        return Babble(dataset)
    if name in MADE:
        return MadeNoise(name, sample_rate)
    return RecordedNoise(open_sound_folder(Path(name), sample_rate, "noise", cache, _LEAST_SECONDS))


class RecordedNoise:
    """Stretches of recordings. Each recording is drawn alike, and each place in it."""

    def __init__(self, sounds: SoundFolder):
        self.sounds, self.name = sounds, sounds.folder.resolve().name
        self.fingerprint, self.note = sounds.fingerprint, sounds.note

    def draw(self, length: int, rng: np.random.Generator, id: str = "") -> np.ndarray:
        """Return a stretch of a recording, int16 (length,). A recording that is too short is repeated.

        A stretch that is far softer than its recording is passed over for another one, if there is one.
        """
        number = int(rng.integers(len(self.sounds)))
        sound, samples = self.sounds.sounds[number], self.sounds[number]
        for _ in range(_TRIES):
            if sound.length < length:
                start = int(rng.integers(sound.length))
                return np.resize(np.concatenate([samples[start:], samples[:start]]), length)
            start = int(rng.integers(sound.length - length + 1))
            stretch = samples[start : start + length]
            if np.sum(np.square(stretch, dtype=np.float32)) >= _LEAST_POWER * sound.power * length:
                break
        return stretch.copy()


class Babble:
    """Several other utterances at once, equally loud, each followed by another one of the same dataset."""

    name, fingerprint, note = "babble", "", ""

    def __init__(self, dataset: Dataset):
        self._dataset = dataset

    def draw(self, length: int, rng: np.random.Generator, id: str = "") -> np.ndarray:
        """Return voices, int16 (length,). None says the utterance with this id, unless the dataset has no other."""
        mixed = sum(self._voice(length, rng, id) for _ in range(_VOICES))
        return _to_level(mixed)

    def _voice(self, length: int, rng: np.random.Generator, id: str) -> np.ndarray:
        parts, count, skip = [], 0, None
        while count < length:
            number = int(rng.integers(len(self._dataset)))
            if self._dataset.id(number) == id:
                number = (number + 1) % len(self._dataset)
            samples = self._dataset[number].input
            skip = int(rng.integers(len(samples))) if skip is None else 0  # the first voice is in the middle of a word
            samples = samples[skip:].astype(np.float32)
            rms = np.sqrt(np.mean(np.square(samples)))
            parts.append(samples / rms if rms else samples)
            count += len(samples)
        return np.concatenate(parts)[:length] if parts else np.zeros(0, np.float32)


class MadeNoise:
    """Gaussian noise: white, or with the average spectrum of speech."""

    fingerprint, note = "", ""

    def __init__(self, name: str, sample_rate: int):
        self.name = name
        hz = np.linspace(0, sample_rate / 2, 513)
        self._amplitude = speech_spectrum(hz) if name == "speech-shaped" else np.ones_like(hz)

    def draw(self, length: int, rng: np.random.Generator, id: str = "") -> np.ndarray:
        """Return noise, int16 (length,)."""
        whole = max(-(-length // _BLOCK), 1) * _BLOCK  # a Fourier transform of any other length may take long
        return _to_level(noise_like(self._amplitude, whole, rng)[:length])


def speech_spectrum(hz: np.ndarray) -> np.ndarray:
    """Return the amplitude of speech at these frequencies, averaged over languages and speakers, at any scale."""
    centres = _LOWEST_BAND * 2 ** (np.arange(len(_SPEECH_DB)) / 3)
    density = np.array(_SPEECH_DB) - 10 * np.log10(centres)  # a band is the wider, the higher it is
    octaves = np.log2(np.maximum(hz, 1.0) / _LOWEST_BAND)
    falling = np.minimum(octaves, 0) * 24  # dB; there is no speech below the lowest band
    return 10 ** ((np.interp(octaves, np.arange(len(density)) / 3, density) + falling) / 20)


def _to_level(samples: np.ndarray) -> np.ndarray:
    rms = np.sqrt(np.mean(np.square(samples))) if len(samples) else 0.0
    return np.clip(np.rint(samples * (_RMS / rms if rms else 0.0)), -32768, 32767).astype(np.int16)
