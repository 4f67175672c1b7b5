"""Encoder frames of windows against those of the whole recording."""

import numpy as np
import pytest
import torch

from rnnt.loader import collate
from rnnt.windows import encode_windows

FEATURES = {"normalization": "global", "peak_floor": 0.0, "dither": 0.0}
LSTM = {"hidden": 16, "pre_layers": 1, "post_layers": 1, "time_stack": 2, "bidirectional": True}


def whole(recognizer, samples):
    with recognizer.inference():
        return recognizer.encode(collate([samples], [[]], [""]))[0]


def windows(recognizer, samples, *seconds):
    with recognizer.inference():
        return encode_windows(recognizer, samples, *seconds)


@pytest.fixture(scope="module")
def bidirectional(make):
    """A model whose features do not depend on the rest of the utterance."""
    recognizer = make(features=FEATURES, model={"encoder": {"lstm": LSTM}, "init_scale": 0.5})
    recognizer.features.mean.fill_(-8.0)
    recognizer.features.std.fill_(5.0)
    return recognizer


@pytest.mark.parametrize("samples", [1, 959, 16000, 16001])
def test_a_short_recording_is_encoded_whole(recognizer, speech, samples):
    audio = speech(1.5, 0)[:samples]
    torch.testing.assert_close(windows(recognizer, audio), whole(recognizer, audio), rtol=0, atol=0)


@pytest.mark.parametrize("seconds", [9.3, 10.0, 10.0001, 12.34])
def test_windows_with_wide_margins_give_the_frames_of_the_whole(bidirectional, speech, seconds):
    audio = speech(seconds, 1)
    expected = whole(bidirectional, audio)
    errors = []
    for margin in (0.0, 1.0, 2.0, 3.0):
        found = windows(bidirectional, audio, 1.0, 2.0, margin)
        assert found.shape == expected.shape
        errors.append(float((found - expected).abs().max()))
    assert errors[0] > 100 * errors[1] > 10_000 * errors[2] and errors[2] < 1e-5 and errors[3] < 1e-6


def test_the_number_of_windows_in_a_batch_does_not_matter(make, speech, monkeypatch):
    recognizer = make()
    audio = speech(14.0, 3)
    expected = windows(recognizer, audio, 1.0, 1.0, 0.5)
    monkeypatch.setattr("rnnt.windows._BATCH", 3)
    np.testing.assert_allclose(windows(recognizer, audio, 1.0, 1.0, 0.5), expected, atol=1e-4)
