"""Sounds without words: their level, their spectrum, and where they come from."""

import numpy as np
import pytest

from rnnt.background import (
    hum,
    noise_floor,
    noise_like,
    quietest_stretch,
    repeat_back_and_forth,
    scale_to,
    stationary_noise,
)


def rng():
    return np.random.default_rng(5)


def dbfs(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64))) - 20 * np.log10(32768)


def test_noise_has_the_floor_that_it_is_made_from():
    loud, soft = 3000 * rng().standard_normal(8000), 20 * rng().standard_normal(8000)
    floor = noise_floor(np.concatenate([soft, loud, soft]), 256)
    assert floor.shape == (129,)
    noise = noise_like(floor, 50_000, rng())
    assert noise.std() == pytest.approx(20, rel=0.15)
    np.testing.assert_allclose(noise_floor(noise, 256)[5:-5], floor[5:-5], rtol=0.5)
    assert len(noise_like(floor, 0, rng())) == 0 and len(noise_floor(soft[:10], 256)) == 129


@pytest.mark.parametrize("length", [1, 99, 4000])
def test_levels_are_those_asked_for(length):
    for level in (-80, -20):
        assert dbfs(stationary_noise(length, level, rng())) == pytest.approx(level, abs=0.01)
        assert dbfs(hum(length, level, 8000, rng())) == pytest.approx(level, abs=0.01)
        assert dbfs(scale_to(np.ones(length, np.float32), level)) == pytest.approx(level, abs=0.01)


def test_hum_lies_at_multiples_of_one_low_frequency():
    spectrum = abs(np.fft.rfft(hum(32000, -20, 16000, rng()) * np.hanning(32000)))  # bins are 0.5 Hz apart
    peaks = np.flatnonzero((spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] >= spectrum[2:])) + 1
    hz = sorted(peaks[np.argsort(spectrum[peaks])[-8:]] / 2)
    assert 44 < hz[0] < 131
    np.testing.assert_allclose(hz, hz[0] * np.arange(1, 9), atol=4)


def test_the_quietest_stretch_is_found_and_repeated_without_jumps():
    samples = np.full(1000, 500, np.int16)
    samples[300:340] = np.arange(40)
    stretch = quietest_stretch(samples, 40)
    assert stretch.tolist() == list(range(40))
    repeated = repeat_back_and_forth(stretch, 1003)
    assert len(repeated) == 1003 and abs(np.diff(repeated)).max() == 1 and repeated.dtype == np.int16
    assert quietest_stretch(samples[:7], 40).tolist() == [500] * 7
