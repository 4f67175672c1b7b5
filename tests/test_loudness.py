import numpy as np
import pytest
import torch

from rnnt.loudness import normalize_loud, peak_power

LENGTHS = torch.tensor([90, 60])


def log_mel(seed=0):
    """Two utterances: 20 loud frames between soft ones, and beyond the lengths anything."""
    x_BSF = torch.randn(2, 90, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 20
    x_BSF[:, 30:50] += 20
    x_BSF[1, 60:] = 50.0
    return x_BSF


def test_the_peak_is_the_loudest_frame_of_the_utterance():
    power_BSF = log_mel().exp()
    expected = [power_BSF[i, :length].numpy().mean(1).max() for i, length in enumerate(LENGTHS)]
    np.testing.assert_allclose(peak_power(power_BSF, LENGTHS)[:, 0, 0], expected)


def test_statistics_are_those_of_the_loud_frames_and_their_neighbours():
    x_BSF = log_mel()
    for row, length in zip(range(2), LENGTHS):
        near = x_BSF[row, 10 : min(70, int(length))].numpy()  # up to 20 frames from a loud one
        centred = near - near.mean(0)
        variance = (centred**2).sum(0) / (len(near) - 1)
        deviation = max(np.sqrt(variance.mean()), 1.5)
        found = normalize_loud(x_BSF, LENGTHS)[row, :length]
        expected = (x_BSF[row, :length].numpy() - near.mean(0)) / deviation
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02)


def test_padding_and_silence_around_the_words_do_not_matter():
    x_BSF = log_mel()
    alone = normalize_loud(x_BSF[1:, :60], LENGTHS[1:])
    torch.testing.assert_close(normalize_loud(x_BSF, LENGTHS)[1:, :60], alone)
    longer = torch.cat((torch.full((1, 200, 5), -20.0, dtype=torch.float64), x_BSF[1:, :60]), 1)
    found = normalize_loud(longer, torch.tensor([260]))[:, 230:250]
    assert (found - alone[:, 30:50]).abs().max() < 0.05


@pytest.mark.parametrize("level", [-50.0, 0.0, 30.0])
def test_the_level_does_not_matter(level):
    x_BSF = log_mel()
    found, expected = normalize_loud(x_BSF + level, LENGTHS), normalize_loud(x_BSF, LENGTHS)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row, :length], expected[row, :length], atol=1e-9, rtol=0)
