"""Chunks give the samples of the whole, bit by bit."""

import numpy as np
import pytest
import soundfile

from rnnt.audio import read_audio, to_pcm
from rnnt.audio.sample_stream import SampleStream, check_samples


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
@pytest.mark.parametrize("size", [1, 37, 5000])
def test_chunks_are_resampled_as_a_file(rate, size, tmp_path):
    samples = (np.random.default_rng(0).standard_normal(6000) * 3000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, rate)
    stream = SampleStream(rate, 16000)
    found = [stream.convert(samples[i : i + size]) for i in range(0, 6000, size)]
    found.append(stream.convert(np.zeros(0, np.int16), last=True))
    np.testing.assert_array_equal(np.concatenate(found), read_audio(tmp_path / "a.wav", 16000))


def test_equal_rates_change_nothing():
    samples = np.array([-32768, 0, 5, 32767], np.int16)
    stream = SampleStream(500, 500)  # that of the model may be any
    assert stream.convert(samples).tolist() == samples.tolist()
    floats = np.array([0.5, -2.0, 0.1])
    assert stream.convert(floats).tolist() == to_pcm(floats).tolist() == [16384, -32768, 3277]


@pytest.mark.parametrize("rate", [1, 0, -8000, 10_000_000])
def test_senseless_rates_are_refused(rate):
    with pytest.raises(ValueError, match=f"sample_rate is {rate}; no recorder has it"):
        SampleStream(rate, 16000)


def test_an_empty_chunk_is_one():
    assert len(check_samples([])) == 0
    with pytest.raises(ValueError, match="must be int16 or float"):
        check_samples([1, 2])
