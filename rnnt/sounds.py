"""The sounds of characters: how probable each is at each frame of the audio.

Each character has two states, its beginning and its end, and pauses have one. A state is a Gaussian of a few numbers
that describe a frame: the lowest cepstra of the log-mel features at three frames around it, and how loud it is. All
states share one covariance, so the log-likelihood of a state is a linear function of the numbers. This is a hidden
Markov model of single characters (Rabiner 1989, doi 10.1109/5.18626).

A frame of this model is two frames of the features, so they are 20 ms apart.

Letters of the shapes: N samples, S frames, F mel bins, D numbers that describe a frame, C states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

STATES = 2  # of a character
MERGED = 2  # frames of the features in a frame
PAUSE = 0  # the state of pauses
MOST_CHARACTERS = 400
_CEPSTRA = 12
_OFFSETS = (-1, 0, 1)  # frames
_PREEMPHASIS = 0.7  # raises the hiss of fricatives above the noise
_SMOOTH = 6  # frames over which the power is averaged
_LEAST_POWER = 0.003  # of int16 samples: digital silence
_AROUND_SECONDS = 10.0  # how far around a place the background and the peak of the level are taken
_STEP_SECONDS = 5.0  # from one place to the next
_BACKGROUND, _PEAK = 0.25, 0.95  # quantiles of the level
_THRESHOLD = 0.1  # between pause and speech, as a share of the way from the background to the peak
_LEAST_DB = 3.3  # that the threshold lies above the background
_RANGE_DB = 8.0  # farther from the threshold, all levels count alike
_MOST = 1e6  # absolute value of a weight


@dataclass(frozen=True, eq=False)
class Sounds:
    """The states of characters and of pauses.

    characters: those that have states; all others share the two last states. weights (C, D) and bias (C,): give the
    log-likelihood of each state, scaled to be added up over the frames, and less what is common to all states. stay
    (C,): probability that the next frame has the same state. Float32.
    """

    characters: str
    weights: np.ndarray
    bias: np.ndarray
    stay: np.ndarray

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sounds) and self.tree() == other.tree()

    __hash__ = None

    def scores(self, described_SD: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods (S, C) of the states, scaled, at frames that `describe_frames` describes."""
        return described_SD @ self.weights.T + self.bias

    def sane(self) -> bool:
        """Return whether all numbers are in range."""
        in_range = all((np.abs(value) <= _MOST).all() for value in (self.weights, self.bias))
        return bool(in_range and ((self.stay > 0) & (self.stay < 1)).all())

    def tree(self) -> dict:
        """Return the contents as lists, strings and numbers."""
        return {name: value if isinstance(value, str) else value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_tree(cls, tree: dict, mels: int) -> "Sounds":
        """Check and return what `tree` gave, for a model with this many mel bins. Raises ValueError if it is none."""
        characters = tree["characters"]
        if not isinstance(characters, str) or len(characters) > MOST_CHARACTERS:
            raise ValueError("there are no characters, or too many")
        if len(set(characters)) != len(characters):
            raise ValueError("the characters are not distinct")
        count = 1 + STATES * (len(characters) + 1)
        shapes = {"weights": (count, described_width(mels)), "bias": (count,), "stay": (count,)}
        arrays = {name: np.array(tree[name], np.float32) for name in shapes}
        for name, value in arrays.items():
            if value.shape != shapes[name]:
                raise ValueError(f"{name} has another shape")
        sounds = cls(characters, **arrays)
        if not sounds.sane():
            raise ValueError("numbers are out of range")
        return sounds


def states(characters: str, words: Sequence[Sequence[str]]) -> tuple[np.ndarray, list[list[tuple[int, int]]]]:
    """Return the states of words in their order (J,), and the first and the end of the places of each text.

    characters: those that have states. words: each a list of texts. Each character adds its states; a text may be
    empty. There is a pause before, between and after the words.
    """
    number = {character: i for i, character in enumerate(characters)}
    numbers, places, count = [], [], 1
    for word in words:
        spans = []
        for text in word:
            spans.append((count, count + STATES * len(text)))
            count += STATES * len(text)
            numbers += [number.get(character, len(characters)) for character in text]
        places.append(spans)
        count += 1
    found = np.full(count, PAUSE)
    spoken = np.ones(count, bool)
    spoken[[0, *(spans[-1][1] for spans in places)]] = False
    found[spoken] = (1 + STATES * np.array(numbers, int)[:, None] + np.arange(STATES)).reshape(-1)
    return found, places


def described_width(mels: int) -> int:
    """Return the number of numbers that describe a frame of so many mel bins."""
    return len(_OFFSETS) * min(_CEPSTRA, mels) + 1


def describe_frames(features_SF: np.ndarray, samples: np.ndarray, hop: int, sample_rate: int) -> np.ndarray:
    """Describe each frame of an utterance by numbers (S, D).

    features_SF: log-mel features, one for each `hop` samples, of which the last may be missing, and perhaps more.
    samples: (N,).
    """
    loudness_S = loudness(samples, MERGED * hop, MERGED * hop / sample_rate)
    count, mels = len(loudness_S), features_SF.shape[1]
    pairs = features_SF[: MERGED * count]
    pairs = np.pad(pairs, ((0, MERGED * count - len(pairs)), (0, 0)), "edge")
    cepstra = pairs.reshape(count, MERGED, mels).sum(1) @ (_cosines(mels) / MERGED)
    places = np.arange(count)
    around = [cepstra[np.clip(places + offset, 0, count - 1)] for offset in _OFFSETS]
    return np.concatenate([*around, loudness_S[:, None]], axis=1)


def loudness(samples: np.ndarray, size: int, seconds: float) -> np.ndarray:
    """Return the loudness of each frame of the samples (N,), from -1 for a pause to 1 for speech: float32 (S,).

    size: samples from one frame to the next, an even number; seconds: the same as a time. The loudness is the level in
    dB, compared with the background and the loudest frames within ten seconds.
    """
    count = -(-len(samples) // size)
    whole = np.zeros(count * size, np.float32)
    whole[: len(samples)] = samples
    # Every second sample suffices for the power.
    frames = whole.reshape(count, size // 2, 2)
    frames = frames[:, :, 1] - np.float32(_PREEMPHASIS) * frames[:, :, 0]
    power = np.pad(np.einsum("sn,sn->s", frames, frames) / (size // 2), (_SMOOTH // 2, _SMOOTH // 2 - 1), "edge")
    total = np.cumsum(np.pad(power, (1, 0)), dtype=np.float64)
    level_S = 10 * np.log10((total[_SMOOTH:] - total[:-_SMOOTH]).clip(0) / _SMOOTH + _LEAST_POWER)
    step, reach = round(_STEP_SECONDS / seconds), round(_AROUND_SECONDS / seconds)
    places = np.arange(0, count + step - 1, step)
    background, peak = np.transpose(
        [_quantiles(level_S[max(place - reach, 0) : place + reach + 1]) for place in places]
    )
    threshold = background + np.maximum(_THRESHOLD * (peak - background), _LEAST_DB)
    return ((level_S - np.interp(np.arange(count), places, threshold)) / _RANGE_DB).clip(-1, 1).astype(np.float32)


def _quantiles(level: np.ndarray) -> list[float]:
    places = [int(quantile * (len(level) - 1)) for quantile in (_BACKGROUND, _PEAK)]
    return np.partition(level, places)[places].tolist()


@cache
def _cosines(mels: int) -> np.ndarray:
    """Return the discrete cosine transform of log-mel features to cepstra (F, cepstra)."""
    count = min(_CEPSTRA, mels)
    angles = np.pi * np.arange(count) * (np.arange(mels)[:, None] + 0.5) / mels
    return (np.sqrt(2 / mels) * np.cos(angles)).astype(np.float32)
