"""Cutting recordings: what is kept, where it is cut, and that the blocks do not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter1d

from rnnt.background import hum, stationary_noise
from rnnt.segments import LONGEST_SECONDS, band_powers, cut, is_speech

RATE, HOP, STRIDE = 16000, 160, 6


def sound(seconds, dbfs, seed=0):
    return stationary_noise(int(seconds * RATE), dbfs, np.random.default_rng(seed)).astype(np.int16)


def words(seconds, dbfs, seed=0):
    """Noise whose loudness changes five times a second, with gaps of some 50 ms."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE)
    loudness = np.repeat(rng.choice([0.2, 0.6, 1.0, 0.05], n // 800 + 1, p=[0.3, 0.3, 0.3, 0.1]), 800)[:n]
    return (32768 * 10 ** (dbfs / 20) * loudness * rng.standard_normal(n)).clip(-32768, 32767).astype(np.int16)


def segments(samples, size=50_000):
    return [
        (start / RATE, (start + len(part)) / RATE)
        for start, part in cut((samples[i : i + size] for i in range(0, len(samples), size)), RATE, HOP, STRIDE)
    ]


def seconds_within(found, start, end):
    return sum(max(min(stop, end) - max(begin, start), 0) for begin, stop in found)


@pytest.mark.parametrize("floor", [-90, -60, -45])
@pytest.mark.parametrize("dbfs", [-50, -30, -12])
def test_words_are_kept_and_long_pauses_left_out(floor, dbfs):
    """Whatever the levels are, if the speech is 12 dB louder than the noise, also with speech of 30 dB more nearby."""
    if dbfs - floor < 12:
        return
    room = sound(60, floor, 1)
    bounds = [(3.0, 5.0), (6.0, 9.0), (14.0, 15.0), (25.0, 29.0), (40.0, 43.0), (43.8, 44.5), (52.0, 53.0)]
    for i, (start, end) in enumerate(bounds):
        level = dbfs + 30 * (i == 1) if dbfs <= -40 else dbfs
        room[int(start * RATE) : int(end * RATE)] += words(end - start, level, i)
    found = segments(room)
    for start, end in bounds:
        assert seconds_within(found, start, end) == pytest.approx(end - start, abs=0.02)
    assert seconds_within(found, 0, 60) < sum(end - start for start, end in bounds) + len(bounds)


def test_speech_without_a_pause_is_cut_at_its_quietest_places_and_nothing_is_left_out():
    samples = sound(200, -20)
    samples.reshape(-1, 1600)[::2] //= 6
    gaps = np.arange(13, 200, 13)
    for gap in gaps:
        samples[int(gap * RATE) : int(gap * RATE) + 1900] = 0
    found = segments(samples)
    assert found[0][0] == 0 and found[-1][1] == 200
    assert [end for _, end in found[:-1]] == [start for start, _ in found[1:]]
    assert max(end - start for start, end in found) <= LONGEST_SECONDS
    cuts = np.array([end for _, end in found[:-1]])
    assert all(np.abs(gaps - place).min() < 0.2 for place in cuts)


@pytest.mark.parametrize("make", [
    lambda: np.zeros(90 * RATE, np.int16),
    lambda: sound(90, -30),
    lambda: hum(90 * RATE, -25, RATE, np.random.default_rng(0)).astype(np.int16),
])  # fmt: skip
def test_silence_noise_and_hum_are_left_out(make):
    assert segments(make()) == []


def test_a_recording_of_up_to_half_a_minute_is_whole_unless_it_has_a_long_pause():
    samples = np.concatenate([words(10, -20), sound(1.5, -70), words(18, -25)])
    assert segments(samples) == [(0, len(samples) / RATE)]
    assert len(segments(np.concatenate([samples, words(1, -20)]))) >= 2
    samples = np.concatenate([words(3, -20), sound(2.5, -70), words(3, -25)])
    (first, second) = segments(samples)
    assert first[0] == 0 and 3 < first[1] < 3.4 and 5 < second[0] < 5.5 and second[1] == 8.5


def test_nothing_gives_no_segment_and_one_sample_gives_one():
    assert segments(np.zeros(0, np.int16)) == []
    assert segments(np.ones(1, np.int16)) == [(0, 1 / RATE)]


@settings(max_examples=12)
@given(
    st.lists(
        st.tuples(st.sampled_from(["words", "noise", "zeros"]), st.floats(0.01, 40), st.integers(-70, -5)), max_size=7
    ),
    st.integers(1_000, 400_000),
    st.integers(0, 100),
)
def test_segments_are_in_order_start_at_whole_steps_and_do_not_depend_on_the_blocks(parts, size, seed):
    made = [np.zeros(0, np.int16)]
    for i, (kind, seconds, dbfs) in enumerate(parts):
        make = {"words": words, "noise": sound}.get(kind, lambda seconds, *_: np.zeros(int(seconds * RATE), np.int16))
        made.append(make(max(seconds, 0.001), dbfs, seed + i))
    samples = np.concatenate(made)
    found = list(cut((samples[i : i + size] for i in range(0, len(samples), size)), RATE, HOP, STRIDE))
    end = 0
    for start, part in found:
        assert start >= end and start % (HOP * STRIDE) == 0 and len(part)
        end = start + len(part)
        assert end % (HOP * STRIDE) == 0 or end == len(samples)
        assert np.array_equal(part, samples[start:end])
        assert len(part) <= max(LONGEST_SECONDS, 30 * (len(samples) <= 30 * RATE)) * RATE
    alone = list(cut([samples], RATE, HOP, STRIDE))
    assert [(start, len(part)) for start, part in found] == [(start, len(part)) for start, part in alone]


def test_the_power_of_a_tone_is_in_its_band():
    tone = (16384 * np.sin(2 * np.pi * 1500 * np.arange(RATE) / RATE)).astype(np.int16)
    powers = band_powers(tone, RATE, HOP)
    assert powers.shape == (100, 5)
    assert np.all(powers[:, 2] > 0.99 * powers.sum(axis=1))


def test_a_quiet_sound_above_a_loud_hum_is_speech():
    samples = hum(10 * RATE, -20, RATE, np.random.default_rng(0)) + stationary_noise(
        10 * RATE, -80, np.random.default_rng(1)
    )
    tone = 33 * np.sin(2 * np.pi * 5000 * np.arange(RATE) / RATE)  # 60 dB below full scale
    samples[4 * RATE : 5 * RATE] += tone
    powers = uniform_filter1d(band_powers(samples.astype(np.int16), RATE, HOP), 10, axis=0)
    levels = 10 * np.log10(powers + 1e-12)
    speech = is_speech(levels, 100)
    assert speech[405:495].mean() > 0.9 and speech[:380].mean() < 0.05
