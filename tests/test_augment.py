"""Augmentation: stays within its bounds and the valid frames, is repeated by its seed, and does nothing when off."""

import numpy as np
import pytest
import torch

from rnnt.augment import Augmentation
from rnnt.config import AugmentConfig, FeaturesConfig
from rnnt.features import Features


def draw(batch, seed=0, **settings):
    return Augmentation(AugmentConfig(**settings), batch, torch.Generator().manual_seed(seed))


def runs(row):
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def test_off_means_nothing_happens():
    augmentation = draw(3)
    x = torch.rand(3, 20, 8)
    lengths = torch.tensor([20, 5, 11])
    assert torch.equal(augmentation.tempo, torch.ones(3)) and torch.equal(augmentation.warp, torch.ones(3))
    assert torch.equal(augmentation.mask(x, lengths), x)
    assert torch.equal(augmentation.vary_gain(x), x)
    assert torch.equal(augmentation.add_noise(x, lengths), x)


def test_speed_and_pitch_lie_in_their_ranges_and_fill_them():
    augmentation = draw(5000, speed_min=0.85, speed_max=1.15, pitch_min=0.9, pitch_max=1.3)
    tempo, pitch = augmentation.tempo, augmentation.warp / augmentation.tempo
    for values, low, high in ((tempo, 0.85, 1.15), (pitch, 0.9, 1.3)):
        assert low - 1e-6 <= values.min() < low + 0.01 and high - 0.01 < values.max() <= high + 1e-6
        assert abs(values.mean() - (low + high) / 2) < 0.01
    assert abs(np.corrcoef(tempo, pitch)[0, 1]) < 0.05
    both = draw(10, speed_min=0.85, speed_max=1.15)
    assert torch.equal(both.tempo, both.warp)


def test_tempo_changes_neither_the_frequencies_nor_the_other_draws():
    ranges = dict(speed_min=0.85, speed_max=1.15, pitch_min=0.9, pitch_max=1.3)
    augmentation = draw(5000, tempo_min=0.8, tempo_max=1.5, **ranges)
    tempo, pitch = augmentation.tempo / augmentation.speed, augmentation.warp / augmentation.speed
    for values, low, high in ((tempo, 0.8, 1.5), (augmentation.speed, 0.85, 1.15), (pitch, 0.9, 1.3)):
        assert low - 1e-6 <= values.min() < low + 0.01 and high - 0.01 < values.max() <= high + 1e-6
    for other in (pitch, augmentation.speed):
        assert abs(np.corrcoef(tempo, other)[0, 1]) < 0.05
    without = draw(5000, **ranges)
    assert torch.equal(without.speed, augmentation.speed) and torch.equal(without.tempo, without.speed)


@pytest.mark.parametrize("tempo", [0.5, 2.0])
def test_frames_at_another_tempo_are_those_of_other_places_of_the_recording(tempo):
    features = Features(FeaturesConfig(stack=1, normalization="none", dither=0.0))
    audio, lengths = torch.randn(2, 16000, generator=torch.Generator().manual_seed(1)), torch.tensor([16000, 8000])
    changed, frames = features(audio, lengths, draw(2, tempo_min=tempo, tempo_max=tempo))
    assert frames.tolist() == [round(100 / tempo), round(50 / tempo)]
    plain, _ = features(audio, lengths)
    step = int(max(tempo, 1))  # of the frames that both have
    other = int(step / tempo)
    for row, count in enumerate(frames.tolist()):
        np.testing.assert_allclose(changed[row, :count:other], plain[row, ::step][: len(changed[row, :count:other])])


def test_the_seed_decides_everything():
    settings = dict(
        speed_min=0.8, speed_max=1.2, tempo_min=0.9, tempo_max=1.2, pitch_min=0.9, pitch_max=1.1, gain=6, tilt=3,
        noise_probability=0.7,
        frequency_masks=2, frequency_width=10, time_masks=3, time_width=0.1,
    )  # fmt: skip
    features = Features(FeaturesConfig())
    audio, lengths = (
        torch.randn(4, 9000, generator=torch.Generator().manual_seed(1)),
        torch.tensor([9000, 7000, 500, 90]),
    )

    def run(seed):
        return features(audio, lengths, draw(4, seed, **settings))[0]

    torch.manual_seed(1)
    first = run(7)
    torch.manual_seed(2)
    assert torch.equal(run(7), first)
    other = run(8)
    assert other.shape != first.shape or not torch.equal(other, first)


def test_the_gain_wanders_slowly_within_its_bounds_and_alike_in_all_bins():
    power = draw(2000, gain=10).vary_gain(torch.full((2000, 150, 3), 7.0)).numpy()
    assert np.allclose(power, power[:, :, :1], rtol=1e-6)
    db = 10 * np.log10(power[:, :, 0] / 7)
    assert -10.001 < db.min() < -9.8 and 9.8 < db.max() < 10.001
    assert abs(db.mean()) < 0.2
    assert abs(np.diff(db)).max() < 20 / 40 + 0.001  # dB from one frame to the next
    assert (db.max(1) - db.min(1)).min() > 0.1  # nowhere constant
    corners = abs(np.diff(db, 2)) > 0.02
    places = corners.mean(0)
    assert places.max() < 0.1 and places.min() > 0.005  # no place has them in every utterance
    steady = draw(5, gain=0.001).vary_gain(torch.ones(5, 1, 2))
    assert np.allclose(steady, 1, atol=3e-4)


def test_the_tilt_wanders_on_two_cosines_and_leaves_the_mean_of_the_bins():
    mels = 12
    db = 10 * draw(2000, tilt=4).vary_gain(torch.ones(2000, 150, mels)).log10().double().numpy()
    angle = (np.arange(mels) + 0.5) * np.pi / mels
    shapes = np.stack([np.cos(angle), np.cos(2 * angle)])
    weights = db @ np.linalg.pinv(shapes)
    assert np.abs(weights @ shapes - db).max() < 1e-4 and np.abs(db.mean(2)).max() < 1e-4
    assert np.abs(weights).max(axis=(0, 1)).min() > 3.8 and np.abs(weights).max() < 4 + 1e-4
    assert abs(np.corrcoef(weights[:, 0].T)[0, 1]) < 0.1
    assert np.abs(np.diff(weights, axis=1)).max() <= 8 / 40 + 1e-4  # a straight line from one draw to the next


def test_frequency_masks_are_bands_of_zeros_over_all_frames():
    x = torch.ones(3000, 2, 40)
    masked = draw(3000, frequency_masks=1, frequency_width=9).mask(x, torch.full((3000,), 2)).numpy() == 0
    assert (masked[:, 0] == masked[:, 1]).all()
    widths = masked[:, 0].sum(1)
    assert all(len(runs(row)) <= 1 for row in masked[:, 0])
    counts = np.bincount(widths)
    assert len(counts) == 10 and counts.min() > 3000 / 10 * 0.75  # 0 to 9 bins, all alike
    ever = masked[:, 0].mean(0)
    assert ever.min() > 0.02 and abs(ever - ever[::-1]).max() < 0.03  # every bin is met, from both sides alike


def test_time_masks_keep_to_valid_frames_and_their_share_of_them():
    lengths = torch.tensor([100, 50, 33, 9, 1]).repeat(400)
    x = torch.ones(2000, 100, 4)
    masked = draw(2000, time_masks=1, time_width=0.1).mask(x, lengths).numpy() == 0
    assert (masked.all(2) == masked.any(2)).all()
    for row, length in zip(masked[:, :, 0], lengths.tolist()):
        assert not row[length:].any()
        assert row.sum() <= length // 10 and len(runs(row)) <= 1
    widths = masked[::5, :, 0].sum(1)
    assert set(widths) == set(range(11))
    assert masked[::5, 0, 0].any() and masked[::5, 99, 0].any()  # up to both ends


@pytest.mark.parametrize(("masks", "width"), [(2, 20), (10, 3)])
def test_there_are_at_most_as_many_bands_as_set(masks, width):
    masked = draw(500, frequency_masks=masks, frequency_width=width).mask(torch.ones(500, 1, 80), torch.ones(500)) == 0
    counts = [len(runs(row)) for row in masked[:, 0].numpy()]
    assert max(counts) == masks if masks == 2 else 5 < max(counts) <= masks
    assert masked.sum(2).max() <= masks * width


def test_a_band_wider_than_the_bins_covers_all_of_them():
    masked = draw(200, frequency_masks=1, frequency_width=50).mask(torch.ones(200, 1, 8), torch.ones(200)) == 0
    assert masked.sum(2).max() == 8 and masked.sum(2).min() == 0


def test_noise_has_the_signal_to_noise_ratio_that_was_asked_for():
    generator = torch.Generator().manual_seed(3)
    lengths = torch.tensor([400, 150, 300])
    power = torch.rand(3, 400, 80, generator=generator) * torch.tensor([1.0, 1e-6, 1e4])[:, None, None]
    for i, length in enumerate(lengths):
        power[i, length:] = torch.nan
    for snr in (0.0, 12.0, 30.0):
        augmentation = draw(3, noise_probability=1.0, noise_snr_min=snr, noise_snr_max=snr)
        noisy = augmentation.add_noise(power, lengths)
        for i, length in enumerate(lengths):
            noise = (noisy - power)[i, :length].double()
            assert noise.min() >= 0
            ratio = 10 * torch.log10(power[i, :length].double().mean() / noise.mean())
            assert abs(ratio - snr) < 0.5


def test_noise_falls_on_the_share_of_utterances_and_in_the_range_that_were_set():
    power = torch.ones(4000, 30, 20)
    augmentation = draw(4000, noise_probability=0.3, noise_snr_min=10.0, noise_snr_max=20.0)
    noise = augmentation.add_noise(power, torch.full((4000,), 30)) - power
    on = noise.sum((1, 2)) > 0
    assert 0.27 < on.float().mean() < 0.33
    ratio = -10 * torch.log10(noise[on].mean((1, 2)))
    assert 9 < ratio.min() < 10.5 and 19.5 < ratio.max() < 21 and abs(ratio.mean() - 15) < 0.3


def test_the_spectrum_of_the_noise_is_smooth_and_differs_between_utterances():
    power = torch.ones(50, 2000, 40)
    noise = draw(50, noise_probability=1.0).add_noise(power, torch.full((50,), 2000)) - power
    shape = noise.mean(1)
    shape = (shape / shape.mean(1, keepdim=True)).log()
    steps = shape.diff(dim=1).abs().mean()
    assert steps < 0.25 * shape.std(1).mean()
    assert shape.std(0).mean() > 0.5


def test_masked_values_are_the_mean_of_the_features():
    features = Features(FeaturesConfig(stack=1))
    audio = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([16000])
    plain = features(audio, lengths)[0]
    masked = features(audio, lengths, draw(1, time_masks=4, time_width=0.1, frequency_masks=2))[0]
    hidden = masked == 0
    assert 0.05 < hidden.float().mean() < 0.9
    torch.testing.assert_close(masked[~hidden], plain[~hidden], rtol=1e-4, atol=1e-4)
    assert plain.mean().abs() < 1e-4
