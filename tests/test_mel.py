"""The mel scale and its filters, against the formulas and known points of Slaney's Auditory Toolbox."""

import math

import numpy as np
import pytest
import torch

from rnnt.mel import hz_to_mel, mel_corners, mel_filters, mel_to_hz


def slaney_hz_to_mel(hz):
    return hz / (200 / 3) if hz < 1000 else 15 + math.log(hz / 1000) / (math.log(6.4) / 27)


def test_the_mel_scale_is_slaneys():
    hz = np.array([0.0, 60, 999, 1000, 1001, 4000, 8000])
    mel = hz_to_mel(torch.from_numpy(hz))
    np.testing.assert_allclose(mel.numpy(), [slaney_hz_to_mel(value) for value in hz], rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(mel).numpy(), hz, rtol=1e-12)
    known = torch.tensor([200 / 3, 1000.0, 6400.0], dtype=torch.float64)
    np.testing.assert_allclose(hz_to_mel(known).numpy(), [1, 15, 42], rtol=1e-12)


def test_corners_are_evenly_spaced_in_mel():
    corners = mel_corners(23, 60.0, 7600.0)
    assert corners.shape == (25,) and corners.dtype == torch.float64
    np.testing.assert_allclose(corners[[0, -1]].numpy(), [60, 7600], rtol=1e-12)
    steps = np.diff([slaney_hz_to_mel(hz) for hz in corners.tolist()])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


@pytest.mark.parametrize("mels", [1, 10, 80])
def test_filters_are_triangles_of_area_one(mels):
    corners = mel_corners(mels, 0.0, 8000.0)
    fine = torch.linspace(0, 8000, 80001, dtype=torch.float64)
    weights = mel_filters(fine[:, None], corners)
    np.testing.assert_allclose(torch.trapezoid(weights, fine, dim=0).numpy(), 1, rtol=1e-4)
    peaks = mel_filters(corners[1:-1, None], corners)
    np.testing.assert_allclose(peaks.diagonal().numpy(), (2 / (corners[2:] - corners[:-2])).numpy(), rtol=1e-12)
    for i, weight in enumerate(weights.T):
        outside = (fine <= corners[i]) | (fine >= corners[i + 2])
        assert (weight[outside] == 0).all() and (weight[~outside] > 0).all()


def test_every_utterance_may_have_its_own_frequencies():
    corners = mel_corners(8, 0.0, 4000.0)
    hz = torch.linspace(0, 4000, 33, dtype=torch.float64)[:, None]
    factors = torch.tensor([1.0, 1.2], dtype=torch.float64)
    both = mel_filters(hz * factors[:, None, None], corners)
    for weights, factor in zip(both, factors):
        torch.testing.assert_close(weights, mel_filters(hz * factor, corners))
