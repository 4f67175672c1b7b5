"""Bounds of words on sounds whose bounds are known, and the promises for odd input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt.boundaries import ExpectedWord, levels, word_bounds

RATE = 16000


def sounds(bounds, seconds, seed=0, loud=3000.0, background=30.0):
    """Noise between these bounds, in a softer background, int16."""
    rng = np.random.default_rng(seed)
    samples = background * rng.standard_normal(round(seconds * RATE))
    for start, end in bounds:
        place = slice(round(start * RATE), round(end * RATE))
        samples[place] += loud * rng.standard_normal(len(samples[place]))
    return samples.clip(-32768, 32767).astype(np.int16)


def expected(bounds, wrong_by=0.0):
    return [ExpectedWord(start + wrong_by, end + wrong_by, (start + end) / 2) for start, end in bounds]


def check_near(found, bounds):
    """Ends come a little late for these sounds, which end abruptly: words fade."""
    (starts, ends), (true_starts, true_ends) = np.transpose(found), np.transpose(bounds)
    np.testing.assert_allclose(starts, true_starts, atol=0.08)
    assert (ends > true_ends - 0.01).all() and (ends < true_ends + 0.1).all(), ends - true_ends


@pytest.mark.parametrize("wrong_by", [-0.1, 0.0, 0.1])
def test_sounds_with_pauses_are_found_although_they_were_expected_elsewhere(wrong_by):
    bounds = [(0.3, 0.7), (0.9, 1.2), (2.5, 3.0)]
    found = word_bounds(sounds(bounds, 4), RATE, expected(bounds, wrong_by))
    check_near(found, bounds)


def test_without_a_pause_the_expected_places_count():
    bounds = [(0.3, 0.7), (0.7, 1.2)]
    (_, end), (start, _) = word_bounds(sounds(bounds, 2), RATE, expected(bounds))
    assert end == pytest.approx(0.7, abs=0.05) and start == pytest.approx(0.7, abs=0.05)


def test_other_rates_and_loudness_change_nothing():
    bounds = [(0.3, 0.7), (1.0, 1.3)]
    soft = sounds(bounds, 2) // 10
    check_near(word_bounds(soft, RATE, expected(bounds)), bounds)
    check_near(word_bounds(sounds(bounds, 2)[::2], 8000, expected(bounds)), bounds)


@given(
    words=st.lists(st.tuples(st.floats(-1, 3), st.floats(0, 1)), max_size=8),
    count=st.integers(1, 20_000),
    silent=st.booleans(),
)
@settings(max_examples=60)
def test_bounds_are_in_order_and_in_the_audio(words, count, silent):
    """Also if words are expected outside the audio, at the same place, or more of them than frames."""
    samples = sounds([], count / RATE)[:count] * (not silent)
    given_words = [ExpectedWord(start, start + length, start + length / 2) for start, length in sorted(words)]
    places = [time for bounds in word_bounds(samples, RATE, given_words) for time in bounds]
    assert len(places) == 2 * len(words)
    assert all(0 <= time <= len(samples) / RATE for time in places)
    assert places == sorted(places)


def test_levels_are_those_of_each_window_whatever_the_blocks():
    samples = np.random.default_rng(0).integers(-9000, 9000, RATE * 60).astype(np.int16)
    level = levels(samples, RATE)
    assert len(level) == 6000  # more than a block of 4096 frames
    x = samples.astype(float)
    y = np.concatenate([x[:1], x[1:] - 0.7 * x[:-1]])
    power = [((y[160 * i - 200 : 160 * i + 200] * np.hanning(400)) ** 2).sum() for i in range(4090, 4102)]
    smooth = np.convolve(power, np.ones(7) / 7, "valid")
    np.testing.assert_allclose(level[4093:4099], 10 * np.log10(smooth + 0.4), rtol=1e-4)
