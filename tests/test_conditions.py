"""Conditions of an evaluation: the same for an utterance whenever it is read, at the level that was asked for."""

import numpy as np
import pytest

from rnnt.conditions import Conditions, open_conditions
from rnnt.dataset import Dataset, write_split
from rnnt.shard import StoredUtterance


def utterance(number, loudness=3000.0):
    rng = np.random.default_rng(number)
    samples = loudness * rng.standard_normal(8000 + 999 * number) * (rng.random(8000 + 999 * number) > 0.3)
    return StoredUtterance(f"u{number}", samples.clip(-32768, 32767).astype(np.int16), "a b", "s")


@pytest.fixture
def dataset(tmp_path):
    write_split(tmp_path / "test", [utterance(i) for i in range(4)])
    return Dataset(tmp_path / "test")


@pytest.fixture
def opened(dataset, tmp_path):
    return lambda noise=None, rooms=None, snr=5.0, seed=0: open_conditions(noise, rooms, snr, seed, dataset, tmp_path)


@pytest.mark.parametrize("noise", ["white", "speech-shaped", "babble"])
@pytest.mark.parametrize("snr", [-5.0, 5.0, 20.0])
def test_noise_is_as_loud_as_was_asked_for(dataset, opened, noise, snr):
    for i in range(4):
        clean, noisy = (d[i].input.astype(float) for d in (dataset, dataset.changed(opened(noise, snr=snr).change)))
        gain = 1.0
        if np.abs(noisy).max() > 32700:  # the whole is softer, to fit
            gain = clean @ noisy / (clean @ clean)
        added = noisy - gain * clean
        assert 10 * np.log10(np.mean((gain * clean) ** 2) / np.mean(added**2)) == pytest.approx(snr, abs=0.1)
        assert len(noisy) == len(clean)


def test_a_mixture_beyond_full_scale_is_made_softer(opened):
    loud = utterance(0, 12000.0)
    noisy = opened("white", snr=-20.0).change(loud).input
    assert noisy.dtype == np.int16 and 32766 <= np.abs(noisy.astype(int)).max() <= 32767
    assert np.sort(np.abs(noisy.astype(int)))[-2] < 32767  # nothing is clipped


def test_an_utterance_is_heard_alike_whenever_it_is_read(dataset, opened):
    def heard(seed=0, order=range(4), **named):
        changed = dataset.subset(list(order)).changed(opened(seed=seed, **(named or {"noise": "white"})).change)
        return {u.id: u.input for u in changed}

    for named in ({"noise": "white"}, {"rooms": "simulated"}, {"noise": "white", "rooms": "simulated"}):
        first = heard(**named)
        for again in (heard(**named), heard(order=[3, 1, 0, 2], **named)):
            assert all(np.array_equal(first[name], again[name]) for name in first)
        assert not any(np.array_equal(first[name], other) for name, other in heard(seed=1, **named).items())
    assert not np.array_equal(heard()["u0"][:8000], heard()["u1"][:8000])


def test_the_same_noise_is_heard_in_any_room(dataset, opened):
    """So that figures with and without rooms differ by the rooms alone."""
    clean = dataset[1].input.astype(float)
    noisy = opened("white", snr=0.0).change(dataset[1]).input - clean
    room = opened(rooms="simulated").change(dataset[1]).input.astype(float)
    both = opened("white", "simulated", snr=0.0).change(dataset[1]).input - room
    assert np.corrcoef(noisy, both)[0, 1] > 0.999


def test_a_room_keeps_the_loudness_and_the_time_of_speech(dataset, opened):
    clean, heard = (x.astype(float) for x in (dataset[2].input, opened(rooms="simulated").change(dataset[2]).input))
    assert np.mean(heard**2) == pytest.approx(np.mean(clean**2), rel=0.001)
    places = np.correlate(heard, clean[1000:3000], "valid")
    assert places.argmax() == 1000


def test_silence_is_trimmed_as_it_is_heard(tmp_path, opened):
    """Speech begins elsewhere in noise; trimming by the clean recording would help the model."""
    samples = np.concatenate([np.zeros(9000), utterance(0).input, np.zeros(9000)]).astype(np.int16)
    write_split(tmp_path / "a", [StoredUtterance("u", samples, "a")])
    dataset = Dataset(tmp_path / "a")
    clean, start = dataset.read(0, trim=True)
    noisy, noisy_start = dataset.changed(opened("white", snr=0.0).change).read(0, trim=True)
    assert start > 6000 and len(clean.input) < 14000
    assert noisy_start == 0 and len(noisy.input) == len(samples)


def test_words_for_titles_and_files(opened):
    conditions = opened("babble", "simulated", 2.5)
    assert str(conditions) == "in rooms (simulated) with noise (babble) at 2.5 dB"
    assert conditions.label == "rooms-simulated-noise-babble-2.5dB" and conditions.notes == []
    assert str(Conditions(None, conditions.rooms, 5.0, 3)) == "in rooms (simulated), seed 3"
    assert opened("white", seed=3).label == "noise-white-5dB-seed-3"


def test_symbols_are_not_heard(tmp_path):
    write_split(tmp_path / "a", [StoredUtterance("1", ["c", "a"], "K")])
    with pytest.raises(ValueError, match="noise and rooms are for audio, and the data holds symbols; leave --noise"):
        open_conditions("white", None, 5.0, 0, Dataset(tmp_path / "a"), tmp_path)
