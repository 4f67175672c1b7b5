"""Noise: stretches of recordings, babble of other utterances, white and speech-shaped noise."""

import numpy as np
import pytest
import soundfile

from rnnt.dataset import Dataset, write_split
from rnnt.noise import Babble, MadeNoise, RecordedNoise, open_noise, speech_spectrum
from rnnt.shard import StoredUtterance
from rnnt.sound_folder import open_sound_folder


def rng(seed=0):
    return np.random.default_rng(seed)


def recorded(tmp_path, **signals):
    for name, samples in signals.items():
        soundfile.write(tmp_path / f"{name}.wav", np.asarray(samples, np.int16), 16000)
    return RecordedNoise(open_sound_folder(tmp_path, 16000, "noise", tmp_path / "run"))


def test_recorded_noise_is_a_stretch_of_a_recording(tmp_path):
    signals = {"a": np.arange(1, 20001), "b": -np.arange(1, 9001)}
    noise, places, names = recorded(tmp_path, **signals), [], []
    for seed in range(400):
        found = noise.draw(3000, rng(seed)).astype(int)
        assert len(found) == 3000 and (np.diff(found) == np.sign(found[0])).all()
        names.append("a" if found[0] > 0 else "b")
        places.append(abs(found[0]))
    assert 150 < names.count("a") < 250
    longest = [place for place, name in zip(places, names) if name == "a"]
    assert min(longest) < 3000 and max(longest) > 15000
    np.testing.assert_array_equal(noise.draw(3000, rng(3)), noise.draw(3000, rng(3)))
    assert noise.fingerprint and noise.name == tmp_path.name


def test_a_recording_that_is_too_short_is_repeated_from_any_place(tmp_path):
    noise, period = recorded(tmp_path, a=np.arange(1, 2001)), 2000
    starts = set()
    for seed in range(50):
        found = noise.draw(9001, rng(seed)).astype(int)
        assert (np.diff(found) % period == 1).all() and set(found) == set(range(1, 2001))
        starts.add(int(found[0]))
    assert len(starts) > 40
    assert len(noise.draw(0, rng())) == 0 and len(noise.draw(2000, rng())) == 2000


def test_a_stretch_that_is_almost_silent_is_passed_over(tmp_path):
    samples = np.concatenate([np.ones(30000), 3000 * rng().standard_normal(10000)])
    found = [np.abs(recorded(tmp_path, a=samples).draw(2000, rng(seed))).max() for seed in range(200)]
    assert np.mean(np.array(found) > 100) > 0.85  # three in four starts are in the silence; eight are tried


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Eight utterances, each a tone that tells it apart, with loudness that differs."""
    folder = tmp_path_factory.mktemp("data") / "train"
    time = np.arange(16000) / 16000
    write_split(
        folder,
        [
            StoredUtterance(f"u{i}", (500 * (i + 1) * np.sin(2 * np.pi * 400 * (i + 1) * time)).astype(np.int16), "a")
            for i in range(8)
        ],
    )
    return Dataset(folder)


def strengths(samples):
    """How strong the tone of each utterance is."""
    power = np.abs(np.fft.rfft(samples.astype(float) * np.hanning(len(samples)))) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / 16000)
    return np.array([power[abs(hz - 400 * (i + 1)) < 50].sum() for i in range(8)]) / power.sum()


def test_babble_is_made_of_five_equally_loud_voices_of_others(dataset):
    noise, met = Babble(dataset), np.zeros(8)
    for seed in range(40):
        found = noise.draw(12000, rng(seed), "u3")
        shares = strengths(found)
        assert shares[3] < 1e-3 and found.dtype == np.int16 and len(found) == 12000
        met += shares
        assert np.sqrt(np.mean(found.astype(float) ** 2)) == pytest.approx(2000, rel=0.01)
    others = np.delete(met, 3)
    assert others.max() < 3.5 * others.min()  # the louder ones do not stand out: u4 takes u3's place, too
    assert strengths(Babble(dataset).draw(12000, rng(), ""))[3] >= 0
    np.testing.assert_array_equal(noise.draw(50000, rng(1)), noise.draw(50000, rng(1)))
    assert len(noise.draw(50000, rng(1))) == 50000 and len(noise.draw(0, rng())) == 0


def test_babble_of_a_single_utterance(dataset):
    assert strengths(Babble(dataset.subset([2])).draw(12000, rng(), "u2"))[2] > 0.9


@pytest.mark.parametrize("name", ["white", "speech-shaped"])
@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_the_spectrum_of_noise_that_is_made(name, sample_rate):
    samples = MadeNoise(name, sample_rate).draw(400_001, rng()).astype(float)
    assert len(samples) == 400_001 and np.sqrt(np.mean(samples**2)) == pytest.approx(2000, rel=0.01)
    power, hz = np.abs(np.fft.rfft(samples)) ** 2, np.fft.rfftfreq(len(samples), 1 / sample_rate)
    levels = {
        centre: 10 * np.log10(power[(hz > centre * 2 ** (-1 / 6)) & (hz <= centre * 2 ** (1 / 6))].sum())
        for centre in (125, 250, 500, 1000, 2000, 3150)
    }
    # Byrne et al. 1994, table II, averaged over languages; a third octave of white noise is as wide as it is high.
    expected = {125: 57.7, 250: 60.3, 500: 62.1, 1000: 53.7, 2000: 48.7, 3150: 46.8}
    if name == "white":
        expected = {centre: 10 * np.log10(centre) for centre in expected}
    differences = [levels[centre] - expected[centre] for centre in expected]
    assert np.ptp(differences) < 1.5


def test_speech_has_little_below_its_lowest_band_and_above_its_highest():
    amplitude = speech_spectrum(np.array([0.0, 10.0, 500.0, 20000.0]))
    assert np.isfinite(amplitude).all() and amplitude[:2].max() < 0.01 * amplitude[2] and amplitude[3] < amplitude[2]


def test_names(dataset, tmp_path):
    assert isinstance(open_noise("babble", 16000, dataset, tmp_path), Babble)
    assert open_noise("white", 16000, dataset, tmp_path).name == "white"
    with pytest.raises(ValueError, match=r"^pink: is no folder"):
        open_noise("pink", 16000, dataset, tmp_path)
    soundfile.write(tmp_path / "a.wav", np.arange(100, dtype=np.int16), 16000)
    with pytest.raises(ValueError, match=r"a.wav: lasts 0.006 s, less than 0.1 s"):
        open_noise(str(tmp_path), 16000, dataset, tmp_path / "run")
