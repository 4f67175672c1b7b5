"""Random changes of training waveforms: silence at the ends, joined utterances, utterances without words.

Recordings of users begin and end with silence and hold several sentences; utterances of a corpus often do neither. A
model that has only met the latter writes words into silence.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rnnt.background import (
    hum,
    noise_floor,
    noise_like,
    quietest_stretch,
    repeat_back_and_forth,
    stationary_noise,
)
from rnnt.config import AugmentConfig
from rnnt.shard import StoredUtterance

_FRAME_SECONDS = 0.016  # of the spectrum of a background
_STRETCH_SECONDS = (0.03, 0.08)  # of the background of an utterance: few are without a pause that is as long
_GAP_SECONDS = 1.0  # the longest pause between joined utterances; three in ten have none
_BLOCK = 1024
_GAIN_DB = 6.0  # by which a background may be louder or softer than it is in the recording
_DBFS = (-95.0, -10.0)  # of noise and hum


def splice(
    utterances: Sequence[StoredUtterance],
    seed: Sequence[int],
    config: AugmentConfig,
    sample_rate: int,
    longest: float,
    separator: str = " ",
) -> list[StoredUtterance]:
    """Return the utterances of a share of a batch after the random changes that the settings ask for.

    The draws depend on the seed alone. Joining and silence at the ends are drawn for all of them together, because they
    share a batch: one that is much longer than the others would fill it with padding. Utterances are joined in their
    order, so there may be fewer afterwards. None becomes longer than `longest` samples by a change. separator: between
    joined texts.
    """
    rng = np.random.default_rng([*seed, 1])  # the trainer takes other numbers from the same seed
    join, ends = rng.random(2) < (config.join_probability, config.ends_probability)
    spliced = _join(utterances, config, sample_rate, longest, separator, rng) if join else list(utterances)
    wordless = rng.random(len(spliced)) < config.wordless_probability
    spliced = [_without_words(u, sample_rate, rng) if empty else u for u, empty in zip(spliced, wordless)]
    return [_add_ends(u, config, sample_rate, longest, rng) for u in spliced] if ends else spliced


def _join(
    utterances: Sequence[StoredUtterance],
    config: AugmentConfig,
    sample_rate: int,
    longest: float,
    separator: str,
    rng: np.random.Generator,
) -> list[StoredUtterance]:
    """Join neighbours to at most `longest` samples, with gaps that sound like the background of one of the two."""
    size = int(rng.integers(2, config.join_utterances + 1))
    joined: list[StoredUtterance] = []
    count = 0  # utterances in the last one
    for utterance in utterances:
        if joined and count < size:
            before = joined[-1]
            gap = round(rng.uniform(0, _GAP_SECONDS) * (rng.random() < 0.7) * sample_rate)
            if len(before.input) + gap + len(utterance.input) <= longest:
                own = utterance.input if rng.random() < 0.5 else before.input
                samples = np.concatenate([before.input, _background(own, gap, sample_rate, rng), utterance.input])
                text = separator.join(filter(None, (before.text, utterance.text)))
                joined[-1] = StoredUtterance(f"{before.id}+{utterance.id}", samples, text, before.speaker)
                count += 1
                continue
        joined.append(utterance)
        count = 1
    return joined


def _add_ends(
    utterance: StoredUtterance, config: AugmentConfig, sample_rate: int, longest: float, rng: np.random.Generator
) -> StoredUtterance:
    """Add background or zeros before and after an utterance."""
    samples = utterance.input
    seconds = rng.uniform(0, config.ends_seconds, 2)
    room = max(longest - len(samples), 0) / max(seconds.sum() * sample_rate, 1)
    before, after = (int(x * sample_rate * min(room, 1)) for x in seconds)
    parts = [_background(samples, before, sample_rate, rng), samples, _background(samples, after, sample_rate, rng)]
    return replace(utterance, input=np.concatenate(parts))


def _background(samples: np.ndarray, length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return zeros, or the background of a recording, int16 (length,)."""
    kind, gain = rng.choice(3, p=[0.25, 0.25, 0.5]), 10 ** (rng.uniform(-_GAIN_DB, _GAIN_DB) / 20)
    if kind == 0 or length == 0:
        return np.zeros(length, np.int16)
    stretch = quietest_stretch(samples, round(rng.uniform(*_STRETCH_SECONDS) * sample_rate))
    if kind == 1:
        return _to_int16(gain * repeat_back_and_forth(stretch, length))
    whole = -(-length // _BLOCK) * _BLOCK  # a Fourier transform of any other length may take long
    noise = noise_like(noise_floor(stretch, round(_FRAME_SECONDS * sample_rate)), whole, rng)
    return _to_int16(gain * noise[:length])


def _without_words(utterance: StoredUtterance, sample_rate: int, rng: np.random.Generator) -> StoredUtterance:
    """Return zeros, background, noise or hum as long as the utterance, with an empty text."""
    length = len(utterance.input)
    kind, level, softer = rng.choice(4, p=[0.15, 0.25, 0.35, 0.25]), rng.uniform(*_DBFS), rng.uniform(0, 60)
    if kind == 0:
        samples = np.zeros(length, np.int16)
    elif kind == 1:
        samples = _background(utterance.input, length, sample_rate, rng)
    else:
        sound = stationary_noise(-(-length // _BLOCK) * _BLOCK, level if kind == 2 else level - softer, rng)[:length]
        samples = _to_int16(sound if kind == 2 else sound + hum(length, level, sample_rate, rng))
    return StoredUtterance(utterance.id, samples, "", utterance.speaker)


def _to_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
