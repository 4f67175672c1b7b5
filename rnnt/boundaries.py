"""Where words begin and end in the audio, given roughly when each one was said.

A transducer says in which order symbols come and when it is certain of them, not when their sounds begin and end. The
level of the audio tells that, if there is a pause. Both are combined: between the middles of two neighbouring words
lie the end of the first, perhaps a pause, and the start of the second. Each choice of the two places has a weight,
by the levels of the frames that it calls speech or pause and by its distance from the expected places. The median of
each place under these weights is taken, because it makes the mean absolute error least.

Letters of the shapes: N samples, S frames (10 ms apart).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Chosen on joined digits of the development recordings (docs/decoding.md).
_RATE = 100  # frames a second
_WINDOW = 0.025  # seconds
_PREEMPHASIS = 0.7  # raises the hiss of fricatives above the noise
_SMOOTH = 7  # frames over which the power is averaged
_FLOOR_QUANTILE = 0.25  # of the levels around a place: the background
_FLOOR_SECONDS = 10.0  # how far around
_FLOOR_STEP = 5.0  # seconds from one place to the next
_THRESHOLD = 0.1  # between pause and speech, as a share of the way from the background to the word's peak
_LEAST_DB = 3.3  # that the threshold lies above the background
_RANGE_DB = 12.0  # farther from the threshold, all levels count alike
_LEVEL_WEIGHT = 0.42  # of a frame that is so far from the threshold
_PLACE_WEIGHT = 1.5
_PLACE_SECONDS = 0.1  # nearer to the expected place, distances hardly count
_FADE_SECONDS = 0.03  # that a word lasts below the threshold, if there is a pause
_LEAST_POWER = 0.4  # of int16 samples: digital silence


@dataclass(frozen=True)
class ExpectedWord:
    """Roughly when a word was said, in seconds: its start, its end, and the mean time of its symbols."""

    start: float
    end: float
    middle: float


def word_bounds(samples: np.ndarray, sample_rate: int, words: Sequence[ExpectedWord]) -> list[tuple[float, float]]:
    """Return the start and the end of each word, in seconds.

    samples: int16 (N,). words: in the order in which they were said. No word begins before the one before it ends.
    """
    if not words:
        return []
    level_S = levels(samples, sample_rate)
    floors = _floors(level_S)
    last = len(level_S) - 1
    middles: list[int] = []
    for word in words:
        middle = int(_RATE * ((word.start + word.end) / 2 + word.middle) / 2)
        middles.append(min(max(middle, middles[-1] + 1 if middles else 0), last))
    peaks = [
        float(level_S[max(min(int(_RATE * word.start), middle), 0) : max(int(_RATE * word.end), middle) + 1].max())
        for word, middle in zip(words, middles)
    ]
    starts, ends = [], []
    for before, after in zip([None, *range(len(words))], [*range(len(words)), None]):
        low = 0 if before is None else middles[before]
        high = last + 1 if after is None else middles[after]
        peak = min(peaks[i] for i in (before, after) if i is not None)
        floor = floors[round((low + high) / 2 / _RATE / _FLOOR_STEP)]
        threshold = floor + max(_THRESHOLD * (peak - floor), _LEAST_DB)
        end, start = _gap(
            (level_S[low:high] - threshold) * (_LEVEL_WEIGHT / _RANGE_DB),
            low,
            None if before is None else words[before].end,
            None if after is None else words[after].start,
        )
        if before is not None:
            ends.append(min(end, len(samples) / sample_rate))
        if after is not None:
            starts.append(min(start, len(samples) / sample_rate))
    return list(zip(starts, ends))


def levels(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the level in dB (S,) of the audio (N,) around every hundredth of a second."""
    hop, size = sample_rate // _RATE, round(sample_rate * _WINDOW)
    window = np.hanning(size).astype(np.float32) ** 2
    count = -(-len(samples) // hop)
    power = np.empty(count, np.float32)
    block = 4096  # frames at once: bounds the memory for an hour of audio
    for start in range(0, count, block):
        end = min(start + block, count)
        first = start * hop - size // 2 - 1
        stop = (end - 1) * hop - size // 2 + size
        part = np.zeros(stop - first, np.float32)
        part[max(-first, 0) : len(samples) - first] = samples[max(first, 0) : stop]
        square = (part[1:] - _PREEMPHASIS * part[:-1]) ** 2
        power[start:end] = np.lib.stride_tricks.sliding_window_view(square, size)[::hop] @ window
    smooth = np.convolve(power, np.ones(_SMOOTH, np.float32) / _SMOOTH, "same")
    return 10 * np.log10(smooth[:count] + _LEAST_POWER)


def _floors(level_S: np.ndarray) -> list[float]:
    """Return the level of the background around every `_FLOOR_STEP` seconds, up to the end of the audio."""
    step, reach = round(_FLOOR_STEP * _RATE), round(_FLOOR_SECONDS * _RATE)
    around = (level_S[max(place - reach, 0) : place + reach + 1] for place in range(0, len(level_S) + step, step))
    return [float(np.quantile(level, _FLOOR_QUANTILE)) for level in around]


def _gap(loudness: np.ndarray, low: int, end: float | None, start: float | None) -> tuple[float, float]:
    """Return when the word before a gap ends and when the word after it starts.

    loudness: of each frame of the gap, above 0 for speech; low: the first of these frames. end, start: the expected
    times; None if there is no word.
    """
    speech = np.minimum(np.maximum(loudness, -_LEVEL_WEIGHT), _LEVEL_WEIGHT)
    # The weight of end e and start s: the frames before e and from s on are speech, those between are not.
    ending = np.zeros(len(speech) + 1)
    np.cumsum(speech, out=ending[1:])
    starting = -ending
    seconds = np.arange(low, low + len(ending)) / _RATE
    if end is not None:
        ending = ending + _near(seconds - end)
    if start is not None:
        starting = starting + _near(seconds - start)
    if end is None:
        return 0.0, _median(starting, seconds)
    if start is None:
        return _median(ending, seconds) + _FADE_SECONDS, float(seconds[-1])
    ends_before = np.logaddexp.accumulate(ending)
    starts_after = np.logaddexp.accumulate(starting[::-1])[::-1]
    start = _median(starting + ends_before, seconds)
    return min(_median(ending + starts_after, seconds) + _FADE_SECONDS, start), start


def _near(distance: np.ndarray) -> np.ndarray:
    return -_PLACE_WEIGHT * np.sqrt(1 + (distance / _PLACE_SECONDS) ** 2)


def _median(log_weights: np.ndarray, seconds: np.ndarray) -> float:
    share = np.cumsum(np.exp(log_weights - log_weights.max()))
    return float(np.interp(share[-1] / 2, share, seconds))
