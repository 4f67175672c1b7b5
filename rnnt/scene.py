"""Acoustic scenes: the rooms and the noise in which the utterances of a batch are heard.

They are drawn on the CPU and applied on the device. Shapes:

    B  utterances of a batch
    M  those of them in a room, or in noise
    N  samples of an utterance
    R  samples of an impulse response
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rnnt.config import AugmentConfig
from rnnt.dataset import Dataset
from rnnt.frames import valid_places
from rnnt.noise import Noise, open_noise
from rnnt.rooms import Rooms, open_rooms


@dataclass(frozen=True)
class Scene:
    """The surroundings of a batch.

    room_rows: (M,) int64, the utterances in rooms; responses: (M, R) float32, with the direct sound at sample `direct`
    of each. noise_rows: (M,) int64, the utterances in noise; noise: (M, N) int16, zero after an utterance's end; snr:
    (M,) float32, in dB.
    """

    room_rows: Tensor
    responses: Tensor
    direct: int
    noise_rows: Tensor
    noise: Tensor
    snr: Tensor

    def to(self, device: torch.device) -> Scene:
        """Return the scene on a device."""
        return self._map(lambda x: x.to(device, non_blocking=True))

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory until what is queued in this stream is done."""
        self._map(lambda x: x.record_stream(stream))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Scene:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(self, **{name: change(x) for name, x in values.items() if isinstance(x, Tensor)})

    def apply(self, audio_BN: Tensor, lengths: Tensor) -> Tensor:
        """Return the utterances as they sound in this scene, float32 (B, N), zero after their lengths (B,).

        audio_BN: int16, or float in [-1, 1]. lengths may be on the CPU. The power of the speech stays as it was, and
        so does the time at which it is heard.
        """
        lengths = lengths.to(audio_BN.device, non_blocking=True)
        audio_BN = _to_float(audio_BN).masked_fill(~valid_places(lengths, audio_BN.shape[1]), 0.0)
        if len(self.room_rows):
            rows = self.room_rows
            audio_BN[rows] = reverberate(audio_BN[rows], lengths[rows], self.responses, self.direct)
        if len(self.noise_rows):
            rows = self.noise_rows
            audio_BN[rows] = mix(audio_BN[rows], lengths[rows], self.noise, self.snr)
        return audio_BN


class Surroundings:
    """The rooms and the noise of training, and how often they are used.

    noise, rooms: None for none. The draws for an utterance depend on the seed and its row alone.
    """

    def __init__(self, config: AugmentConfig, noise: Noise | None, rooms: Rooms | None):
        self.config, self.noise, self.rooms = config, noise, rooms

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprints of the recordings, by the names noise and rooms."""
        found = {"noise": self.noise, "rooms": self.rooms}
        return {name: source.fingerprint for name, source in found.items() if source and source.fingerprint}

    @property
    def notes(self) -> list[str]:
        """Lines about recordings that are left out."""
        return [source.note for source in (self.noise, self.rooms) if source and source.note]

    def draw(self, lengths: Sequence[int], ids: Sequence[str], seed: Sequence[int]) -> Scene | None:
        """Draw the scene of a batch of utterances with these lengths and ids; None if nothing changes."""
        config = self.config
        responses, noises = {}, {}
        for row, (length, id) in enumerate(zip(lengths, ids, strict=True)):
            rng = np.random.default_rng([*seed, 2, row])  # `splice` takes other numbers from the same seed
            in_room, in_noise = rng.random(2) < (config.rooms_probability, config.noise_probability)
            if self.rooms and in_room:
                responses[row] = self.rooms.draw(rng)
            if self.noise and in_noise:
                snr = rng.uniform(config.noise_snr_min, config.noise_snr_max)
                noises[row] = self.noise.draw(int(length), rng, id), snr
        return make_scene(responses, noises) if responses or noises else None


def make_scene(responses: dict[int, tuple[np.ndarray, int]], noises: dict[int, tuple[np.ndarray, float]]) -> Scene:
    """Return the scene of a batch.

    responses: by row, impulse responses (R,) and the places of the direct sound. noises: by row, noise (N,) int16 and
    the signal-to-noise ratio in dB.
    """
    direct = max((place for _, place in responses.values()), default=0)
    parts = [np.pad(response, (direct - place, 0)) for response, place in responses.values()]
    noise = [stretch for stretch, _ in noises.values()]
    return Scene(
        torch.tensor(list(responses), dtype=torch.int64),
        torch.from_numpy(_padded(parts, np.float32)),
        direct,
        torch.tensor(list(noises), dtype=torch.int64),
        torch.from_numpy(_padded(noise, np.int16)),
        torch.tensor([snr for _, snr in noises.values()], dtype=torch.float32),
    )


def open_surroundings(config: AugmentConfig, sample_rate: int, dataset: Dataset, cache: Path) -> Surroundings | None:
    """Return the surroundings that the settings name; None if they name none.

    dataset: the training data. cache: a folder for decoded recordings if nothing can be written next to theirs. Raises
    ValueError that begins with the setting's key if a folder holds no recording that can be used.
    """
    if not (config.noise or config.rooms):
        return None
    users = ("noise", "ends", "pauses", "join", "wordless")
    if config.noise and not any(getattr(config, f"{name}_probability") for name in users):
        raise ValueError(
            f"augment.noise is {config.noise}, but nothing uses it; set augment.noise_probability too, such as 0.5"
        )
    noise, rooms, rt60 = None, None, (config.rooms_rt60_min, config.rooms_rt60_max)
    key = "augment.noise"
    try:
        if config.noise:
            noise = open_noise(config.noise, sample_rate, dataset, cache)
        key = "augment.rooms"
        if config.rooms:
            rooms = open_rooms(config.rooms, sample_rate, rt60, cache)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    return Surroundings(config, noise, rooms)


def reverberate(audio_MN: Tensor, lengths: Tensor, responses_MR: Tensor, direct: int = 0) -> Tensor:
    """Convolve utterances (M, N), zero after their lengths (M,), with impulse responses (M, R).

    The result (M, N) has their lengths, and each utterance keeps its power. direct: the sample of the responses at
    which the direct sound arrives; speech is not delayed by it.
    """
    size = fourier_size(audio_MN.shape[1] + responses_MR.shape[1])
    spectrum = torch.fft.rfft(audio_MN, size) * torch.fft.rfft(responses_MR, size)
    heard_MN = torch.fft.irfft(spectrum, size)[:, direct : direct + audio_MN.shape[1]]
    heard_MN = heard_MN.masked_fill(~valid_places(lengths, audio_MN.shape[1]), 0.0)
    before, after = audio_MN.square().sum(1), heard_MN.square().sum(1)
    return heard_MN * _ratio(before, after).sqrt()[:, None]


def mix(audio_MN: Tensor, lengths: Tensor, noise_MN: Tensor, snr: Tensor) -> Tensor:
    """Add noise to utterances (M, N), zero after their lengths (M,), at a signal-to-noise ratio (M,) in dB.

    The ratio is that of the mean powers over the whole utterance, pauses included. Digital silence gets no noise.
    noise_MN: int16 or float, at any level; shorter than the audio if all utterances in noise are.
    """
    noise_MN = torch.nn.functional.pad(_to_float(noise_MN), (0, audio_MN.shape[1] - noise_MN.shape[1]))
    noise_MN = noise_MN.masked_fill(~valid_places(lengths, audio_MN.shape[1]), 0.0)
    ratio = _ratio(audio_MN.square().sum(1), noise_MN.square().sum(1))
    return audio_MN + noise_MN * (ratio * 10 ** (-snr / 10)).sqrt()[:, None]


def fourier_size(least: int) -> int:
    """Return the smallest product of powers of 2, 3 and 5 that is even and at least `least`.

    >>> fourier_size(1025), fourier_size(7)
    (1080, 8)
    """
    best = 1 << max(least - 1, 1).bit_length()
    for odd in (3**i * 5**j for i in range(12) for j in range(8)):
        if odd < best:
            best = min(best, odd << max((-(-least // odd) - 1).bit_length(), 1))
    return best


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """The quotient, and 0 if there is nothing below."""
    return torch.where(below > 0, above / below, torch.zeros_like(above))


def _padded(rows: Sequence[np.ndarray], kind: type) -> np.ndarray:
    padded = np.zeros((len(rows), max(map(len, rows), default=0)), kind)
    for place, row in zip(padded, rows):
        place[: len(row)] = row
    return padded


def _to_float(audio: Tensor) -> Tensor:
    return audio.float().div_(32768) if audio.dtype == torch.int16 else audio.float()
