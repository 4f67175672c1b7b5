"""The level of samples: integers taken for floats, overload, and channels that cancel each other."""

import numpy as np
import pytest
import soundfile

from rnnt.audio import mono_blocks, read_audio

NOISE = np.random.default_rng(0).normal(0, 0.1, (32000, 4)).astype(np.float32)


def mono(samples, block=5000):
    samples = np.asarray(samples, np.float32)
    return np.concatenate(list(mono_blocks(samples[i : i + block] for i in range(0, len(samples), block))))


@pytest.mark.parametrize("full_scale", [128, 255, 32768, 2**23, 2**31])
def test_integers_stored_as_floats_are_refused(tmp_path, full_scale):
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE[:, 0] * full_scale, 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"/a.wav: holds samples of up to .*, but full scale is 1; divide them"):
        read_audio(path)


def test_overload_is_clipped_if_rare_and_refused_if_not(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE[:, 0] * 3, 16000, subtype="FLOAT")  # a ten-thousandth is beyond full scale
    assert read_audio(path).max() == 32767
    soundfile.write(path, NOISE[:, 0] * 15, 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"a.wav: (is too loud \(\d+ % of its|holds samples of up to .* full scale)"):
        read_audio(path)
    with pytest.raises(ValueError, match=r"is too loud \(50 % of its samples are beyond full scale"):
        mono(np.tile([[2.0], [0.5]], (16000, 1)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 31999])
def test_a_single_sample_that_is_no_number_is_found(bad, at):
    samples = NOISE[:, :2].copy()
    samples[at, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        mono(samples)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("noise", [0, 0.05])
@pytest.mark.parametrize("gains", [(1, -1), (1, -0.8), (-0.5, 0.5), (1, -1, 1, -1), (1, 1, -2)])
def test_channels_of_opposite_phase_are_refused(tmp_path, subtype, noise, gains):
    """Their average would be silence, or a little noise."""
    path = tmp_path / "a.wav"
    samples = NOISE[:, :1] * np.float32(gains) + noise * NOISE[:, : len(gains)][::-1] + 0.01  # a constant hides it
    soundfile.write(path, samples, 16000, subtype=subtype)
    with pytest.raises(ValueError, match=r"a.wav: has channels of opposite phase, which cancel"):
        read_audio(path)
    with pytest.raises(ValueError, match=r"a.wav: has channels of opposite phase"):
        read_audio(path, start=0.5, seconds=1.0)


@pytest.mark.parametrize("gains", [(1, 1), (1, 0), (0, 1), (1, -0.3), (1, 0, 0, 0), (0.5, 0.5, 0.5)])
def test_other_channels_are_averaged(gains):
    samples = NOISE[:, :1] * np.float32(gains)
    np.testing.assert_allclose(mono(samples), samples.mean(axis=1), atol=1e-7)


def test_independent_and_silent_channels_are_averaged():
    for samples in (NOISE, NOISE[:, :2], NOISE * [1, 1, 0, 0], NOISE * 0, NOISE * 0 + [1e-5, -1e-5, 0, 0]):
        np.testing.assert_allclose(mono(samples), samples.mean(axis=1), atol=1e-7)


def test_the_blocks_do_not_matter():
    for block in (1, 7, 31999, 50000):
        np.testing.assert_array_equal(mono(NOISE[:3000, :2], block), mono(NOISE[:3000, :2]))
    with pytest.raises(ValueError, match="opposite phase"):
        mono(NOISE[:3000, :1] * [1, -1], 100)
