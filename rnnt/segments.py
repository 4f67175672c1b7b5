"""Cuts recordings of any length at pauses, as they are read. A segment is a stretch that is decoded at once.

A level is compared with those of the seconds around it, never with a fixed one: recordings differ by 60 dB, and so do
the speakers of one recording. A frame is a hundredth of a second or so, the `hop` of the model's features.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d

WHOLE_SECONDS = 30.0  # recordings of up to so many seconds stay whole, unless they hold a long pause
LONG_PAUSE_SECONDS = 2.0
LONGEST_SECONDS = 20.0  # of a segment
PAUSE_SECONDS = 0.3  # shorter pauses are no place to cut, unless a segment becomes too long
PAD_SECONDS = 0.05  # of a pause that are kept before and after speech

_LOOK_SECONDS = 60.0  # that are held at once
_AROUND_SECONDS = 3.0  # before and after a place, with which its level is compared
_SMOOTH_SECONDS = 0.1  # of which the mean power is the level at a place
_CLICK_SECONDS = 0.12  # a shorter sound between pauses, smoothed, is no speech
_BANDS_HZ = (100, 500, 1000, 2000, 4000, 8000)  # limits of the bands; speech is heard in one of them at least
_SILENCE_DB = -95.0  # relative to full scale: any lower level counts as this one
_STEADY_DB = 8.0  # a sound whose level changes less than this in the seconds around is no speech
_SHARE, _LEAST_DB, _MOST_DB = 0.3, 6.0, 10.0  # speech exceeds the quietest level by this share of the range, in bounds


def cut(blocks: Iterable[np.ndarray], sample_rate: int, hop: int, stride: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cut a recording at its pauses, and yield the first sample and the samples (N,) of each segment, in order.

    blocks: the recording, int16 blocks (N,) of any lengths, on which the result does not depend. hop: samples of a
    frame. stride: segments begin and end at multiples of so many frames, apart from the end of the recording.

    Silence and steady noise between segments are left out. Speech without pauses is cut at its quietest place, between
    10 and 20 s after the last cut, and nothing is left out there. A recording of up to 30 s is one segment unless it
    holds a pause of 2 s. At most 80 s of the recording are held.
    """
    rate = sample_rate / hop
    look, around = round(_LOOK_SECONDS * rate), round(_AROUND_SECONDS * rate)
    source = _Source(blocks)
    first = context = 0  # frames: before `samples`; of these, those in `powers`
    samples, powers = np.zeros(0, np.int16), np.zeros((0, len(_BANDS_HZ) - 1))
    ended = False
    while not ended:
        more = source.take(look * hop - len(samples))
        ended = len(samples) + len(more) < look * hop
        powers = np.concatenate([powers, band_powers(more, sample_rate, hop)])
        samples = np.concatenate([samples, more])
        levels = _levels(powers, rate)
        speech = is_speech(levels, rate)[context:]
        short = first == 0 and ended and len(samples) <= WHOLE_SECONDS * sample_rate
        if short and all(end - start < LONG_PAUSE_SECONDS * rate for start, end in _runs(~speech)):
            stretches, done = [(0, len(speech))][: len(samples)], len(speech)
        else:
            loudness = levels[context:].mean(axis=1)
            stretches, done = _stretches(speech, loudness, rate, stride, len(speech) if ended else look - around)
        for start, end in stretches:
            yield first * hop + start * hop, samples[start * hop : end * hop]
        powers = powers[max(context + done - 2 * around, 0) :]
        context = min(context + done, 2 * around)
        samples, first = samples[done * hop :], first + done


def band_powers(samples: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """Return the power of int16 samples in each frame and band (T, 5). Full scale is 1."""
    window = np.hanning(hop + 1)[:hop].astype(np.float32)
    frames = np.pad(samples, (0, -len(samples) % hop)).reshape(-1, hop) * (window / (32768 * window.sum()))
    spectrum = np.fft.rfft(frames)
    power = spectrum.real**2 + spectrum.imag**2
    hz = np.arange(power.shape[1]) * sample_rate / hop
    bands = [(low <= hz) & (hz < high) for low, high in pairwise(_BANDS_HZ)]
    return np.stack([power[:, band].sum(axis=1, dtype=np.float64) for band in bands], axis=1)


def is_speech(levels: np.ndarray, rate: float) -> np.ndarray:
    """Return whether each frame may be speech, or music: louder than the quietest places around, and not steady.

    levels: in dB, of the frames and bands (T, 5). rate: frames a second.
    """
    if not len(levels):
        return np.zeros(0, bool)
    size = 2 * round(_AROUND_SECONDS * rate) + 1
    low = minimum_filter1d(levels, size, axis=0, mode="nearest")
    high = maximum_filter1d(levels, size, axis=0, mode="nearest")
    margin = np.clip(_SHARE * (high - low), _LEAST_DB, _MOST_DB)
    return ((levels - low > margin) & (high - low > _STEADY_DB)).any(axis=1)


def _levels(powers: np.ndarray, rate: float) -> np.ndarray:
    size = max(round(_SMOOTH_SECONDS * rate), 1)
    smooth = uniform_filter1d(powers, size, axis=0, mode="nearest") if len(powers) else powers
    return np.maximum(10 * np.log10(np.maximum(smooth, 1e-12)), _SILENCE_DB)


def _stretches(
    speech: np.ndarray, loudness: np.ndarray, rate: float, stride: int, limit: int
) -> tuple[list[tuple[int, int]], int]:
    """Return the segments, and the frame up to which the recording is done with.

    limit: what comes after this frame is not known yet, unless it is the last one.
    """
    pause, pad, longest = (round(x * rate) for x in (PAUSE_SECONDS, PAD_SECONDS, LONGEST_SECONDS))
    final = limit == len(speech)
    spoken = []  # runs of speech, of which the pauses that are too short have become a part
    for start, end in _runs(speech):
        if spoken and start - spoken[-1][1] < pause:
            spoken[-1][1] = end
        else:
            spoken.append([start, end])
    spoken = [(start, end) for start, end in spoken if end - start > _CLICK_SECONDS * rate or end == len(speech)]
    found = []
    done = 0
    for i, (start, end) in enumerate(spoken):
        following = spoken[i + 1][0] if i + 1 < len(spoken) else len(speech)
        begin = max(start - pad, done) // stride * stride
        begin = done if begin - done <= pad else begin
        if following - end <= 2 * pad:
            stop = end + int(np.argmin(loudness[end:following])) if following < len(speech) else following
        else:
            stop = end + pad
        while min(stop, limit) - begin > longest:
            middle = begin + longest // 2
            place = (middle + int(np.argmin(loudness[middle : begin + longest])) + 1) // stride * stride
            found.append((begin, place))
            begin = done = place
        if not final and (end + pause > limit or stop > limit):
            return found, min(begin, limit) // stride * stride
        stop = len(speech) if final and stop >= len(speech) else stop // stride * stride
        found.append((begin, stop))
        done = stop
    return found, len(speech) if final else max(done, limit - pad) // stride * stride


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the start and the end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


class _Source:
    """Blocks of samples that are taken in other lengths."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self._blocks, self._rest = iter(blocks), np.zeros(0, np.int16)

    def take(self, count: int) -> np.ndarray:
        """Return the next samples, fewer than `count` only at the end."""
        taken = [self._rest]
        missing = count - len(self._rest)
        while missing > 0 and (block := next(self._blocks, None)) is not None:
            taken.append(block)
            missing -= len(block)
        samples = np.concatenate(taken)
        self._rest = samples[count:].copy()
        return samples[:count]
