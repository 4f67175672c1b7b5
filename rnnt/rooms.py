"""Rooms: how a sound is heard in them, as impulse responses that are simulated or were measured."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from rnnt.sound_folder import SoundFolder, open_sound_folder

SIMULATED = "simulated"
MOST_SECONDS = 10.0  # of an impulse response
_BEFORE_SECONDS = 0.05  # kept before the strongest sample, which may come after the direct sound
_TAIL = 1e-6  # of the energy of a measured response, which its end may hold, and which is left out

# Ranges of what is drawn for a simulated room.
_DIRECT_DB = (-3.0, 12.0)  # energy of the direct sound, relative to all that follows
_REFLECTIONS = (4, 12)  # early ones
_EARLY_SECONDS = (0.001, 0.05)  # when they arrive
_EARLY_SHARE = (0.2, 0.7)  # of the energy after the direct sound
_TAIL_SECONDS = (0.002, 0.02)  # when the diffuse sound begins


class Rooms(Protocol):
    """A source of rooms. name: for messages. fingerprint: changes with the recordings, empty if there are none.
    note: a line about recordings that are left out, or empty.
    """

    name: str
    fingerprint: str
    note: str

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Return an impulse response, float32 (R,), at any scale, and the sample at which the direct sound arrives."""


def open_rooms(name: str, sample_rate: int, rt60: tuple[float, float], cache: Path) -> Rooms:
    """Return the rooms that a setting names: "simulated", or a folder of impulse responses.

    rt60: range of the reverberation time of simulated rooms, in seconds. cache: a folder for decoded recordings if
    nothing can be written next to theirs. Raises ValueError if the folder holds no recording that can be used.
    """
    if name == SIMULATED:
        return SimulatedRooms(sample_rate, rt60)
    return MeasuredRooms(open_sound_folder(Path(name), sample_rate, "rooms", cache, most=MOST_SECONDS), sample_rate)


class SimulatedRooms:
    """A new room in each draw. See `simulate_room`."""

    name, fingerprint, note = SIMULATED, "", ""

    def __init__(self, sample_rate: int, rt60: tuple[float, float]):
        self._sample_rate, self._rt60 = sample_rate, rt60

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Return the impulse response of a room, and 0."""
        return simulate_room(rng.uniform(*self._rt60), rng.uniform(*_DIRECT_DB), self._sample_rate, rng), 0


class MeasuredRooms:
    """Impulse responses from a folder. Each is drawn alike."""

    def __init__(self, sounds: SoundFolder, sample_rate: int):
        self.sounds, self.name = sounds, sounds.folder.resolve().name
        self.fingerprint, self.note = sounds.fingerprint, sounds.note
        self._before = round(_BEFORE_SECONDS * sample_rate)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Return an impulse response, and the place of its strongest sample. An inaudible end is left out."""
        response = self.sounds[int(rng.integers(len(self.sounds)))].astype(np.float32)
        peak = int(np.argmax(np.abs(response)))
        start = max(peak - self._before, 0)
        energy = np.cumsum(np.square(response, dtype=np.float64))
        end = int(np.searchsorted(energy, (1 - _TAIL) * energy[-1])) + 1
        return response[start : max(end, peak + 1)], peak - start


def simulate_room(rt60: float, direct_db: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return the impulse response of a random room, float32 (R,), which begins with the direct sound, of strength 1.

    After it come a few early reflections and diffuse sound: Gaussian noise that decays exponentially (Polack 1988).
    rt60: seconds in which the sound decays by 60 dB, after which the response ends. direct_db: energy of the direct
    sound relative to the rest.
    """
    size = max(round(rt60 * sample_rate), 2)
    seconds = np.arange(size) / sample_rate
    decay = 10 ** (-3 * seconds / rt60)
    diffuse = rng.standard_normal(size) * decay
    diffuse[: min(round(rng.uniform(*_TAIL_SECONDS) * sample_rate), size - 1)] = 0
    early = np.zeros(size)
    count = int(rng.integers(_REFLECTIONS[0], _REFLECTIONS[1] + 1))
    places = np.rint(rng.uniform(*_EARLY_SECONDS, count) * sample_rate).astype(int).clip(1, size - 1)
    np.add.at(early, places, rng.choice((-1, 1), count) * rng.uniform(0.3, 1, count) * decay[places])
    share = rng.uniform(*_EARLY_SHARE)
    rest = np.sqrt(share) * _of_unit_energy(early) + np.sqrt(1 - share) * _of_unit_energy(diffuse)
    response = 10 ** (-direct_db / 20) * _of_unit_energy(rest)
    response[0] = 1.0
    return response.astype(np.float32)


def _of_unit_energy(samples: np.ndarray) -> np.ndarray:
    energy = np.sum(samples**2)
    return samples / np.sqrt(energy) if energy else samples
