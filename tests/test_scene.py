"""Scenes: convolution and levels against NumPy, independence of batch and padding, draws that a seed repeats."""

import numpy as np
import pytest
import torch

from rnnt.config import AugmentConfig
from rnnt.dataset import Dataset, write_split
from rnnt.noise import MadeNoise
from rnnt.rooms import SimulatedRooms
from rnnt.scene import Surroundings, fourier_size, make_scene, mix, open_surroundings, reverberate
from rnnt.shard import StoredUtterance

LENGTHS = [700, 1, 1000, 333]


def signals(seed=0, lengths=LENGTHS):
    """Utterances of different loudness, (B, N), zero after their lengths, and those."""
    rng = np.random.default_rng(seed)
    audio = np.zeros((len(lengths), max(lengths)), np.float32)
    for i, length in enumerate(lengths):
        audio[i, :length] = 0.1 * 4.0**-i * rng.standard_normal(length)
    return torch.from_numpy(audio), torch.tensor(lengths)


def responses(size, count=4, seed=1):
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.standard_normal((count, size)) * 0.99 ** np.arange(size)).astype(np.float32))


@pytest.mark.parametrize("direct", [0, 7])
@pytest.mark.parametrize("size", [8, 500, 3000])
def test_reverberation_is_a_convolution_that_keeps_power_and_time(size, direct):
    audio, lengths = signals()
    rooms = responses(size)
    heard = reverberate(audio, lengths, rooms, direct).double().numpy()
    for i, length in enumerate(LENGTHS):
        dry = audio[i, :length].double().numpy()
        expected = np.convolve(dry, rooms[i].double().numpy())[direct : direct + length]
        expected = np.pad(expected, (0, length - len(expected)))
        expected *= np.sqrt(np.sum(dry**2) / np.sum(expected**2))
        np.testing.assert_allclose(heard[i, :length], expected, atol=2e-6 * np.abs(expected).max() + 1e-9, rtol=1e-4)
        assert not heard[i, length:].any()
        assert np.sum(heard[i] ** 2) == pytest.approx(np.sum(dry**2), rel=1e-5)


def test_a_room_of_direct_sound_alone_changes_nothing():
    audio, lengths = signals()
    rooms = torch.zeros(len(LENGTHS), 50)
    rooms[:, 20] = torch.tensor([1.0, 0.01, 30, 2])
    torch.testing.assert_close(reverberate(audio, lengths, rooms, 20), audio, rtol=1e-5, atol=1e-7)


def test_silence_stays_silent():
    audio = torch.zeros(2, 100)
    lengths = torch.tensor([100, 40])
    assert not reverberate(audio, lengths, responses(30, 2)).any()
    assert not mix(audio, lengths, torch.ones(2, 100), torch.zeros(2)).any()
    speech = signals(lengths=[100, 40])[0]
    assert torch.equal(mix(speech, lengths, torch.zeros(2, 100, dtype=torch.int16), torch.zeros(2)), speech)


@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_noise_has_the_ratio_that_was_asked_for(kind):
    audio, lengths = signals()
    noise = (3000 * np.random.default_rng(2).standard_normal(audio.shape)).astype(kind)
    snr = torch.tensor([0.0, 5.0, -10.0, 30.0])
    added = (mix(audio, lengths, torch.from_numpy(noise), snr).double() - audio.double()).numpy()
    for i, length in enumerate(LENGTHS):
        assert not added[i, length:].any()
        power = [np.mean(x[i, :length] ** 2) for x in (audio.double().numpy(), added)]
        assert 10 * np.log10(power[0] / power[1]) == pytest.approx(float(snr[i]), abs=0.01)
        if length > 1:
            assert np.corrcoef(added[i, :length], noise[i, :length])[0, 1] > 0.999


def scene_of(rows, lengths=LENGTHS, seed=3):
    """A scene for these rows: every second one is in a room, all but the first are in noise."""
    rng = np.random.default_rng(seed)
    rooms = [(rng.standard_normal(20 + 40 * i).astype(np.float32), 3 * i) for i in range(len(lengths))]
    noises = [((999 * rng.standard_normal(length)).astype(np.int16), 5.0 * i) for i, length in enumerate(lengths)]
    return make_scene(
        {place: rooms[row] for place, row in enumerate(rows) if row % 2 == 0},
        {place: noises[row] for place, row in enumerate(rows) if row > 0},
    )


def test_a_scene_depends_neither_on_the_batch_nor_on_the_padding():
    audio, lengths = signals()
    together = scene_of(range(4)).apply(audio, lengths)
    assert together.dtype == torch.float32
    for row, length in enumerate(LENGTHS):
        alone = scene_of([row]).apply(audio[row : row + 1, :length], lengths[row : row + 1])[0]
        torch.testing.assert_close(alone, together[row, :length], rtol=1e-4, atol=1e-7)
    padded = torch.nn.functional.pad(audio, (0, 555), value=9.0)
    padded[:, : audio.shape[1]] += 7 * (audio == 0)
    again = scene_of(range(4)).apply(padded, lengths)
    assert not again[:, audio.shape[1] :].any()
    torch.testing.assert_close(again[:, : audio.shape[1]], together, rtol=1e-4, atol=1e-7)


def test_rows_outside_of_rooms_and_noise_stay_as_they_are():
    audio, lengths = signals()
    scene = make_scene({2: (np.float32([1, 0.5]), 0)}, {3: (np.ones(333, np.int16), 0.0)})
    heard = scene.apply(audio, lengths)
    assert torch.equal(heard[:2], audio[:2]) and not torch.equal(heard[2], audio[2])
    assert not torch.equal(heard[3], audio[3])
    assert torch.equal(signals()[0], audio)  # the input is not written into


def test_int16_and_float_sound_alike():
    audio, lengths = signals()
    pcm = torch.round(audio * 32768).to(torch.int16)
    a, b = scene_of(range(4)).apply(pcm, lengths), scene_of(range(4)).apply(pcm.float() / 32768, lengths)
    assert torch.equal(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_hears_the_same():
    audio, lengths = signals()
    expected = scene_of(range(4)).apply(audio, lengths)
    found = scene_of(range(4)).to(torch.device("cuda")).apply(audio.cuda(), lengths)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-6)


CONFIG = dict(noise="white", noise_probability=0.3, rooms="simulated", rooms_probability=0.6, noise_snr_min=2.0)


def surroundings(**settings):
    config = AugmentConfig(**{**CONFIG, **settings})
    return Surroundings(config, MadeNoise("white", 8000), SimulatedRooms(8000, (0.1, 0.2)))


def test_the_settings_share_out_rooms_and_noise():
    count = 2000
    scene = surroundings(noise_snr_max=9.0).draw([4] * count, [""] * count, (0, 1, 2))
    assert 0.27 * count < len(scene.noise_rows) < 0.33 * count
    assert 0.56 * count < len(scene.room_rows) < 0.64 * count
    both = set(scene.noise_rows.tolist()) & set(scene.room_rows.tolist())
    assert 0.15 * count < len(both) < 0.21 * count
    assert 2 <= scene.snr.min() < 2.2 and 8.8 < scene.snr.max() <= 9 and abs(scene.snr.mean() - 5.5) < 0.4
    assert scene.noise.dtype == torch.int16 and scene.responses.dtype == torch.float32 and scene.direct == 0
    assert 800 <= scene.responses.shape[1] <= 1600


def test_draws_depend_on_the_seed_and_the_row_alone():
    def tensors(scene):
        return {name: value for name, value in vars(scene).items() if isinstance(value, torch.Tensor)}

    everything = dict(noise_probability=1.0, rooms_probability=1.0)
    first, other = (surroundings(**everything).draw([50, 60], ["a", "b"], (0, step, 0)) for step in (1, 2))
    again = surroundings(**everything).draw([50, 60], ["a", "b"], (0, 1, 0))
    assert all(torch.equal(x, tensors(again)[name]) for name, x in tensors(first).items())
    assert not torch.equal(first.noise, other.noise) and not torch.equal(first.snr, other.snr)
    longer = surroundings(**everything).draw([70, 60], ["c", "b"], (0, 1, 0))
    assert torch.equal(longer.noise[1, :60], first.noise[1, :60]) and torch.equal(longer.snr, first.snr)
    assert not torch.equal(first.noise[0, :50], first.noise[1, :50])


def test_nothing_is_drawn_if_nothing_changes():
    assert surroundings(noise_probability=0.0, rooms_probability=0.0).draw([5, 6], ["a", "b"], (0, 0, 0)) is None
    config = AugmentConfig(**{**CONFIG, "noise_probability": 1.0, "rooms_probability": 1.0})
    assert Surroundings(config, None, None).draw([5, 6], ["a", "b"], (0, 0, 0)) is None
    assert open_surroundings(AugmentConfig(noise_probability=0.5), 8000, None, None) is None


def test_what_the_settings_name_is_opened(tmp_path):
    write_split(tmp_path / "train", [StoredUtterance("u", np.ones(9, np.int16), "a")])
    dataset = Dataset(tmp_path / "train")
    found = open_surroundings(AugmentConfig(**{**CONFIG, "noise": "babble"}), 8000, dataset, tmp_path)
    assert (found.noise.name, found.rooms.name, found.fingerprints, found.notes) == ("babble", "simulated", {}, [])

    def complaint(**settings):
        with pytest.raises(ValueError) as error:
            open_surroundings(AugmentConfig(**settings), 8000, dataset, tmp_path)
        return str(error.value)

    assert complaint(noise="white").startswith("augment.noise is white, but nothing uses it; set augment.noise_prob")
    assert complaint(noise="none", noise_probability=1.0).startswith("augment.noise: none: is no folder")
    assert complaint(rooms="none").startswith("augment.rooms: none: is no folder")


def smooth(size):
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    return size == 1


def test_sizes_of_fourier_transforms():
    for least in [*range(2, 300), 4097, 27_001]:
        expected = next(size for size in range(least, 2 * least + 2) if size % 2 == 0 and smooth(size))
        assert fourier_size(least) == expected
    assert 2_000_003 <= fourier_size(2_000_003) < 2_030_000 and fourier_size(1) == 2
