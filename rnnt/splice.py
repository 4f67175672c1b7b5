"""Random changes of training waveforms: silence at the ends or none, longer pauses, joined utterances, none with words.

Recordings of users begin and end with silence and hold several sentences; utterances of a corpus often do neither. A
model that has only met the latter writes words into silence. Other recordings end with the last word, which a model
that waits for silence loses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnnt.background import (
    hum,
    noise_floor,
    noise_like,
    quietest_stretch,
    repeat_back_and_forth,
    scale_to,
    stationary_noise,
)
from rnnt.config import AugmentConfig
from rnnt.noise import Noise
from rnnt.shard import StoredUtterance
from rnnt.silence import speech_bounds

_FRAME_SECONDS = 0.016  # of the spectrum of a background
_STRETCH_SECONDS = (0.03, 0.08)  # of the background of an utterance: few are without a pause that is as long
_GAP_SECONDS = 1.0  # the longest pause between joined utterances; three in ten have none
_BLOCK = 1024
_LEVEL_SECONDS = 0.01  # of a frame whose level is measured
_PAUSE_SECONDS = 0.15  # the shortest pause between words that is found; the closure of a stop consonant is shorter
_PAUSE_DB = 25.0  # that a pause is softer than the loud frames of its utterance
_PAUSE_GAP = (0.05, 1.0)  # seconds that are put into a pause
_GAIN_DB = 6.0  # by which a background may be louder or softer than it is in the recording
_DBFS = (-95.0, -10.0)  # of noise and hum
_TRIM_DB = (-50.0, -30.0)  # the level of silence that is removed, below the loudest place
_TRIM_SECONDS = 0.02  # of a place whose level counts


def splice(
    utterances: Sequence[StoredUtterance],
    seed: Sequence[int],
    config: AugmentConfig,
    sample_rate: int,
    longest: float,
    separator: str = " ",
    noise: Noise | None = None,
) -> list[StoredUtterance]:
    """Return the utterances of a share of a batch after the random changes that the settings ask for.

    The draws depend on the seed alone. Joining and silence at the ends are drawn for all of them together, because they
    share a batch: one that is much longer than the others would fill it with padding. Utterances are joined in their
    order, so there may be fewer afterwards. None becomes longer than `longest` samples by a change. separator: between
    joined texts. noise: half of the silence and background, and of the utterances without words, is taken from it.
    """
    background = _Background(config, sample_rate, noise)
    rng = np.random.default_rng([*seed, 1])  # the trainer takes other numbers from the same seed
    if config.trim_probability:
        utterances = [_trimmed(u, config.trim_probability, sample_rate, rng) for u in utterances]
    join, ends = rng.random(2) < (config.join_probability, config.ends_probability)
    spliced = _join(utterances, background, longest, separator, rng) if join else list(utterances)
    wordless = rng.random(len(spliced)) < config.wordless_probability
    spliced = [_without_words(u, background, rng) if empty else u for u, empty in zip(spliced, wordless)]
    if config.pauses_probability:
        slow = rng.random(len(spliced)) < config.pauses_probability
        spliced = [_lengthen_pauses(u, background, longest, rng) if chosen else u for u, chosen in zip(spliced, slow)]
    return [_add_ends(u, background, longest, rng) for u in spliced] if ends else spliced


@dataclass(frozen=True)
class _Background:
    """Makes the sounds between and around words. noise: where half of them come from, if there is any."""

    config: AugmentConfig
    sample_rate: int
    noise: Noise | None

    def like(self, samples: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
        """Return zeros, the background of a recording, or other noise that suits its level, int16 (length,)."""
        if self._from_noise(rng) and length:
            snr = rng.uniform(self.config.noise_snr_min, self.config.noise_snr_max)
            rms = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
            return self._noise(length, 20 * np.log10(max(rms, 1e-9) / 32768) - snr, rng)
        kind, gain = rng.choice(3, p=[0.25, 0.25, 0.5]), 10 ** (rng.uniform(-_GAIN_DB, _GAIN_DB) / 20)
        if kind == 0 or length == 0:
            return np.zeros(length, np.int16)
        stretch = quietest_stretch(samples, round(rng.uniform(*_STRETCH_SECONDS) * self.sample_rate))
        if kind == 1:
            return _to_int16(gain * repeat_back_and_forth(stretch, length))
        whole = -(-length // _BLOCK) * _BLOCK  # a Fourier transform of any other length may take long
        noise = noise_like(noise_floor(stretch, round(_FRAME_SECONDS * self.sample_rate)), whole, rng)
        return _to_int16(gain * noise[:length])

    def alone(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return zeros, background, noise or hum, int16 and as long as the samples."""
        length = len(samples)
        if self._from_noise(rng):
            return self._noise(length, rng.uniform(*_DBFS), rng)
        kind, level, softer = rng.choice(4, p=[0.15, 0.25, 0.35, 0.25]), rng.uniform(*_DBFS), rng.uniform(0, 60)
        if kind == 0:
            return np.zeros(length, np.int16)
        if kind == 1:
            return self.like(samples, length, rng)
        sound = stationary_noise(-(-length // _BLOCK) * _BLOCK, level if kind == 2 else level - softer, rng)[:length]
        return _to_int16(sound if kind == 2 else sound + hum(length, level, self.sample_rate, rng))

    def _from_noise(self, rng: np.random.Generator) -> bool:
        return self.noise is not None and rng.random() < 0.5

    def _noise(self, length: int, dbfs: float, rng: np.random.Generator) -> np.ndarray:
        samples = self.noise.draw(length, rng)
        return _to_int16(scale_to(samples.astype(np.float32), dbfs)) if samples.any() else samples


def _trimmed(
    utterance: StoredUtterance, probability: float, sample_rate: int, rng: np.random.Generator
) -> StoredUtterance:
    """Remove the silence at the ends of an utterance, with this probability."""
    draw, level = rng.random(), rng.uniform(*_TRIM_DB)
    if draw >= probability:
        return utterance
    start, end = speech_bounds(utterance.input, level, round(_TRIM_SECONDS * sample_rate))
    return replace(utterance, input=utterance.input[start:end])


def _join(
    utterances: Sequence[StoredUtterance],
    background: _Background,
    longest: float,
    separator: str,
    rng: np.random.Generator,
) -> list[StoredUtterance]:
    """Join neighbours to at most `longest` samples, with gaps that sound like the background of one of the two."""
    size = int(rng.integers(2, background.config.join_utterances + 1))
    joined: list[StoredUtterance] = []
    count = 0  # utterances in the last one
    for utterance in utterances:
        if joined and count < size:
            before = joined[-1]
            gap = round(rng.uniform(0, _GAP_SECONDS) * (rng.random() < 0.7) * background.sample_rate)
            if len(before.input) + gap + len(utterance.input) <= longest:
                own = utterance.input if rng.random() < 0.5 else before.input
                samples = np.concatenate([before.input, background.like(own, gap, rng), utterance.input])
                text = separator.join(filter(None, (before.text, utterance.text)))
                joined[-1] = StoredUtterance(f"{before.id}+{utterance.id}", samples, text, before.speaker)
                count += 1
                continue
        joined.append(utterance)
        count = 1
    return joined


def _add_ends(
    utterance: StoredUtterance, background: _Background, longest: float, rng: np.random.Generator
) -> StoredUtterance:
    """Add background or zeros before and after an utterance."""
    samples, rate = utterance.input, background.sample_rate
    seconds = rng.uniform(0, background.config.ends_seconds, 2)
    room = max(longest - len(samples), 0) / max(seconds.sum() * rate, 1)
    before, after = (int(x * rate * min(room, 1)) for x in seconds)
    parts = [background.like(samples, before, rng), samples, background.like(samples, after, rng)]
    return replace(utterance, input=np.concatenate(parts))


def _lengthen_pauses(
    utterance: StoredUtterance, background: _Background, longest: float, rng: np.random.Generator
) -> StoredUtterance:
    """Put background or zeros into half of the pauses between the words of an utterance, up to `longest` samples."""
    samples, room = utterance.input, longest - len(utterance.input)
    parts, start = [], 0
    for place in _pauses(samples, background.sample_rate):
        chosen, gap = rng.random() < 0.5, round(rng.uniform(*_PAUSE_GAP) * background.sample_rate)
        if chosen and gap <= room:
            parts += [samples[start:place], background.like(samples, gap, rng)]
            start, room = place, room - gap
    return replace(utterance, input=np.concatenate([*parts, samples[start:]])) if parts else utterance


def _pauses(samples: np.ndarray, sample_rate: int) -> list[int]:
    """Return the middle of each pause between words: quiet for at least `_PAUSE_SECONDS`, and not at an end."""
    size = round(_LEVEL_SECONDS * sample_rate)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    if not len(frames):
        return []
    power = np.mean(np.square(frames, dtype=np.float32), axis=1)
    loud = np.flatnonzero(power > np.quantile(power, 0.95) * 10 ** (-_PAUSE_DB / 10))
    gaps = np.diff(loud) - 1  # quiet frames between two loud ones
    long = gaps * _LEVEL_SECONDS >= _PAUSE_SECONDS
    return [int(frame + 1 + gap / 2) * size for frame, gap in zip(loud[:-1][long], gaps[long])]


def _without_words(utterance: StoredUtterance, background: _Background, rng: np.random.Generator) -> StoredUtterance:
    """Return a sound as long as the utterance, with an empty text."""
    return StoredUtterance(utterance.id, background.alone(utterance.input, rng), "", utterance.speaker)


def _to_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
