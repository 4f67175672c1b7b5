"""Cepstra against plain numpy, written from the HTK Book (chapter 5), and invariances: batch, padding, length."""

import math

import numpy as np
import pytest
import torch

from rnnt.augment import Augmentation
from rnnt.config import AugmentConfig
from rnnt.features import Features
from rnnt.features_config import FeaturesConfig
from rnnt.mfcc import cepstra, frame_energy, htk_corners, htk_filters, hz_to_htk_mel, with_deltas

HTK = {"kind": "mfcc", "mels": 26, "window": 400, "window_type": "hamming", "dither": 0.0, "normalization": "none"}
CONFIGS = [
    FeaturesConfig(**HTK, stack=1, log_floor=1e-9),
    FeaturesConfig(**HTK, stack=2, log_floor=1e-9, cepstra=5, low_hz=100, high_hz=7000),
    FeaturesConfig(**HTK | {"mels": 13, "window": 160, "window_type": "hann"}, n_fft=255, hop=80, log_floor=1e-6),
]


def htk_values(samples, config):
    """One utterance's frames (S, D): every formula of the book as a loop."""
    x = samples.astype(np.float64)
    x = np.concatenate([x[:1], x[1:] - config.preemphasis * x[:-1]])
    half, size = config.n_fft // 2, config.window
    x = np.concatenate([x[half:0:-1], x, x[-2 : -half - 2 : -1]])
    mean = 0.54 if config.window_type == "hamming" else 0.5
    window = np.array([mean - (1 - mean) * math.cos(2 * math.pi * n / (size - 1)) for n in range(size)])
    mel = lambda hz: 2595 * math.log10(1 + hz / 700)  # noqa: E731
    low, high = mel(config.low_hz), mel(config.high_hz)
    centres = [low + (high - low) * i / (config.mels + 1) for i in range(config.mels + 2)]
    rows = []
    for s in range(-(-len(samples) // config.hop)):
        start = s * config.hop + (config.n_fft - size) // 2
        frame = x[start : start + size] * window
        magnitude = np.abs(np.fft.rfft(frame, config.n_fft))
        outputs = np.zeros(config.mels)
        for k, value in enumerate(magnitude):
            place = mel(k * config.sample_rate / config.n_fft)
            for m in range(config.mels):  # (5.14): the part of a bin that falls to a filter is linear in mel
                left, centre, right = centres[m : m + 3]
                if left < place <= centre:
                    outputs[m] += value * (place - left) / (centre - left)
                elif centre < place < right:
                    outputs[m] += value * (right - place) / (right - centre)
        logs = np.log(outputs**2 + config.log_floor) / 2
        row = []
        for i in range(1, config.cepstra + 1):
            angles = [math.cos(math.pi * i / config.mels * (j - 0.5)) for j in range(1, config.mels + 1)]
            row.append(math.sqrt(2 / config.mels) * np.dot(logs, angles) * (1 + 11 * math.sin(math.pi * i / 22)))
        rows.append([*row, math.log((frame**2).sum() + config.log_floor)])
    c = np.array(rows)
    at = lambda t: c[min(max(t, 0), len(c) - 1)]  # noqa: E731
    deltas = [sum(d * (at(t + d) - at(t - d)) for d in (1, 2)) / (2 * (1 + 4)) for t in range(len(c))]
    return np.concatenate([c, deltas], 1)


def noise(length, seed=0):
    rng = np.random.default_rng(seed)
    slow = np.interp(np.arange(length), np.linspace(0, length, 20), rng.random(20))
    return (0.2 * slow * rng.standard_normal(length)).astype(np.float32)


def values(config, *utterances, augmentation=None):
    """The values of each utterance, computed as one padded batch whose padding is NaN."""
    batch = torch.full((len(utterances), max(map(len, utterances))), torch.nan)
    for row, samples in zip(batch, utterances):
        row[: len(samples)] = torch.from_numpy(samples)
    lengths = torch.tensor([len(samples) for samples in utterances])
    x, counts = Features(config).values(batch, lengths, *([augmentation] if augmentation else []))
    return [row[:count].numpy() for row, count in zip(x, counts)]


@pytest.mark.parametrize("config", CONFIGS)
def test_equals_plain_numpy(config):
    utterances = [noise(length, length) for length in (8000, 300, 2399, 2400, 2401)]
    for samples, x in zip(utterances, values(config, *utterances)):
        assert x.shape[1] == config.values
        np.testing.assert_allclose(x, htk_values(samples, config), rtol=2e-4, atol=2e-3)


def test_the_batch_does_not_matter():
    utterances = [noise(length, length) for length in (4000, 161, 1, 7777)]
    for alone, together in zip((values(CONFIGS[0], each)[0] for each in utterances), values(CONFIGS[0], *utterances)):
        np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-4)


def test_stacked_frames_are_zero_after_the_lengths():
    features = Features(CONFIGS[1])
    batch = torch.from_numpy(np.stack([noise(4000), noise(4000, 1)]))
    x, lengths = features(batch, torch.tensor([4000, 800]))
    assert features.width == x.shape[2] == 24 and lengths.tolist() == [13, 3] and not x[1, 3:].any()


def test_the_level_of_the_audio_moves_the_energy_alone():
    loud, soft = noise(4000), noise(4000) / 4
    change = values(CONFIGS[0], loud)[0] - values(CONFIGS[0], soft)[0]
    expected = np.zeros(26)
    expected[12] = math.log(16)
    np.testing.assert_allclose(change, np.broadcast_to(expected, change.shape), atol=0.03)


def test_a_gain_of_the_augmentation_moves_the_energy_alone():
    class Louder(Augmentation):
        def change_power(self, mel_BSF, num_frames):
            return 16 * mel_BSF

    plain, changed = (
        values(CONFIGS[0], noise(4000), augmentation=kind(AugmentConfig(), 1, torch.Generator()))[0]
        for kind in (Augmentation, Louder)
    )
    expected = np.zeros(26)
    expected[12] = math.log(16)
    np.testing.assert_allclose(changed - plain, np.broadcast_to(expected, plain.shape), atol=0.03)


def test_digital_silence_is_finite():
    (x,) = values(CONFIGS[0], np.zeros(4000, np.float32))
    assert np.isfinite(x).all() and np.ptp(x, 0).max() == 0


def test_cepstra_need_later_frames():
    assert "features.kind=mfcc needs two more frames" in Features(CONFIGS[0]).why_not_streaming


@pytest.mark.parametrize("n_fft", [16, 15])
def test_the_energy_is_that_of_the_samples(n_fft):
    frames = torch.randn(2, 3, n_fft, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    power = torch.fft.rfft(frames).abs().square()
    torch.testing.assert_close(frame_energy(power, n_fft)[..., 0], frames.square().sum(2))


def test_the_mel_scale_has_its_fixed_points():
    mel = hz_to_htk_mel(torch.tensor([0.0, 700.0, 1000.0]).double())
    np.testing.assert_allclose(mel, [0, 2595 * math.log10(2), 1000], atol=0.02)


def test_filters_share_out_each_frequency_between_the_outer_centres():
    corners = htk_corners(10, 0, 8000)
    weights = htk_filters(torch.linspace(400, 6000, 50, dtype=torch.float64)[:, None], corners)
    torch.testing.assert_close(weights.sum(1), torch.ones(50, dtype=torch.float64))
    assert ((weights > 0).sum(1) <= 2).all()


def test_cepstra_of_a_cosine_over_the_filters_are_one_coefficient():
    place = torch.arange(26, dtype=torch.float64) + 0.5
    x = cepstra((3 + torch.cos(math.pi / 26 * 4 * place))[None, None], 12)[0, 0]
    lifter = 1 + 11 * math.sin(math.pi * 4 / 22)
    torch.testing.assert_close(x, torch.eye(12, dtype=torch.float64)[3] * math.sqrt(2 / 26) * 13 * lifter)


def test_the_slope_of_a_line_is_its_rise_but_for_the_ends():
    lengths = torch.tensor([8, 3])
    line = torch.arange(8.0)[None, :, None].repeat(2, 1, 1)
    line[1, 3:] = torch.nan
    slopes = with_deltas(line, lengths)[:, :, 1]
    np.testing.assert_allclose(slopes[0], [0.5, 0.8, 1, 1, 1, 1, 0.8, 0.5], atol=1e-6)
    np.testing.assert_allclose(slopes[1, :3], [0.5, 0.6, 0.5], atol=1e-6)
