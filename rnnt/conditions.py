"""Conditions of an evaluation: noise at one signal-to-noise ratio, and rooms, in which a dataset is heard."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rnnt.dataset import Dataset
from rnnt.noise import Noise, open_noise
from rnnt.rooms import Rooms, open_rooms
from rnnt.scene import make_scene
from rnnt.shard import StoredUtterance

RT60 = (0.15, 0.8)  # seconds; of simulated rooms


@dataclass(frozen=True)
class Conditions:
    """Noise and rooms for the utterances of a dataset; None for none. snr: in dB.

    The draws for an utterance depend on the seed and its id alone: neither on its batch nor on the other utterances.
    """

    noise: Noise | None
    rooms: Rooms | None
    snr: float
    seed: int = 0

    def __str__(self) -> str:
        room = f"in rooms ({self.rooms.name})" if self.rooms else ""
        noise = f"with noise ({self.noise.name}) at {self.snr:g} dB" if self.noise else ""
        return " ".join(filter(None, (room, noise))) + (f", seed {self.seed}" if self.seed else "")

    @property
    def label(self) -> str:
        """A short word for the names of files."""
        parts = [self.rooms and f"rooms-{self.rooms.name}", self.noise and f"noise-{self.noise.name}-{self.snr:g}dB"]
        return "-".join(filter(None, (*parts, f"seed-{self.seed}" if self.seed else "")))

    @property
    def notes(self) -> list[str]:
        """Lines about recordings that are left out."""
        return [source.note for source in (self.noise, self.rooms) if source and source.note]

    def change(self, utterance: StoredUtterance) -> StoredUtterance:
        """Return an utterance of audio as it is heard. It is made softer only if it would exceed full scale."""
        digest = hashlib.sha256(utterance.id.encode()).digest()
        seeds = [self.seed, *np.frombuffer(digest[:16], "<u4").tolist()]
        rng, length = [np.random.default_rng([*seeds, number]) for number in (0, 1)], len(utterance.input)
        responses = {0: self.rooms.draw(rng[0])} if self.rooms else {}
        noises = {0: (self.noise.draw(length, rng[1], utterance.id), self.snr)} if self.noise else {}
        scene = make_scene(responses, noises)
        audio = torch.from_numpy(utterance.input.copy())[None]
        heard = scene.apply(audio, torch.tensor([length]))[0].numpy() * 32768
        heard *= min(32767 / max(np.abs(heard).max(initial=0), 1), 1)
        return replace(utterance, input=np.rint(heard).astype(np.int16))


def open_conditions(
    noise: str | None, rooms: str | None, snr: float, seed: int, dataset: Dataset, cache: Path
) -> Conditions:
    """Return the conditions in which a dataset is to be heard.

    noise: a folder, or one of `rnnt.noise.MADE`; babble has the voices of this dataset. rooms: a folder, or simulated.
    cache: a folder for decoded recordings if nothing can be written next to theirs. Raises ValueError if the dataset
    holds no audio, or a folder no recording that can be used.
    """
    if dataset.input != "audio":
        raise ValueError("noise and rooms are for audio, and the data holds symbols; leave --noise and --rooms out")
    rate = dataset.sample_rate
    return Conditions(
        open_noise(noise, rate, dataset, cache) if noise else None,
        open_rooms(rooms, rate, RT60, cache) if rooms else None,
        snr,
        seed,
    )
