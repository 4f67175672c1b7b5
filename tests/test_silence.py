"""Bounds of speech, against a search through every window."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnnt.silence import speech_bounds, trim_silence


@given(
    st.sampled_from(["noise", "fading", "tone", "silence", "framed", "clicks"]),
    st.integers(1, 20000), st.sampled_from([2048, 2049, 100, 7, 1]), st.sampled_from([-60.0, -20.0, -3.0]),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_bounds_are_those_found_by_looking_at_every_window(kind, length, window, threshold_db, seed):
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(length) * 10 ** rng.uniform(0, 4)
    if kind == "fading":
        samples *= 10 ** (-rng.uniform(0, 5) * np.abs(np.linspace(-1, 1, length)))
    elif kind == "tone":
        samples = 20000 * np.sin(0.1 * np.arange(length))
    elif kind == "framed":
        samples[: length // 3] = samples[-length // 4 :] = 0
    elif kind in ("silence", "clicks"):
        samples[:] = 0
        if kind == "clicks":
            samples[rng.integers(length, size=3)] = 30000
    samples = np.clip(samples, -32768, 32767).astype(np.int16)
    start, end = 0, length
    if length > window:
        sums = np.concatenate([[0], np.cumsum(samples.astype(np.int64) ** 2)])
        power = sums[window:] - sums[:-window]
        loud = np.flatnonzero(power > power.max() * 10 ** (threshold_db / 10))
        if len(loud):
            start, end = loud[0], loud[-1] + window
    assert speech_bounds(samples, threshold_db, window) == (start, end)


def test_trimming_keeps_the_samples_between_the_bounds():
    samples = np.zeros(30000, np.int16)
    samples[12000:20000] = np.random.default_rng(0).integers(-9000, 9000, 8000)
    start, end = speech_bounds(samples)
    assert 12000 - 2048 < start <= 12000 and 20000 <= end < 20000 + 2048
    np.testing.assert_array_equal(trim_silence(samples), samples[start:end])


def test_nothing_is_trimmed_from_short_audio_or_digital_silence():
    for samples in (np.zeros(0, np.int16), np.ones(2048, np.int16), np.zeros(9000, np.int16)):
        assert speech_bounds(samples) == (0, len(samples))
        assert len(trim_silence(samples)) == len(samples)
