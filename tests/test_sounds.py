"""The states of words, the description of frames, and sounds that are saved."""

import json

import numpy as np
import pytest

from rnnt.sounds import PAUSE, Sounds, describe_frames, described_width, loudness, states

RATE = 16000


def test_the_states_of_words_are_those_of_their_characters():
    found, places = states("ab", [["a", "b"], [""], ["bx"]])
    a, b, other = [1, 2], [3, 4], [5, 6]
    assert found.tolist() == [PAUSE, *a, *b, PAUSE, PAUSE, *b, *other, PAUSE]
    assert places == [[(1, 3), (3, 5)], [(6, 6)], [(7, 11)]]
    assert states("ab", [])[0].tolist() == [PAUSE]


def test_loudness_tells_speech_from_the_background_however_loud_both_are():
    rng = np.random.default_rng(0)
    samples = 30 * rng.standard_normal(4 * RATE)
    samples[RATE : 2 * RATE] *= 100
    for gain, step in ((1, 1), (0.1, 1), (1, 2)):
        loud = loudness((gain * samples[::step]).astype(np.int16), 320 // step, 0.02)
        assert len(loud) == 200
        assert (loud[54:97] == 1).all() and (loud[:46] < 0).all() and (loud[104:] < 0).all()


@pytest.mark.parametrize("count", [1, 159, 160, 161, 320, 321, 4000])
def test_frames_of_any_number_of_samples_are_described(count):
    rng = np.random.default_rng(count)
    features = rng.standard_normal((-(-count // 160), 40)).astype(np.float32)
    samples = rng.integers(-99, 99, count).astype(np.int16)
    described = describe_frames(features, samples, 160, RATE)
    assert described.shape == (-(-count // 320), described_width(40)) and np.isfinite(described).all()
    # The first cepstrum of the frame itself is the mean over its two feature frames, times the root of the bins.
    np.testing.assert_allclose(described[0, 12], features[:2].mean() * np.sqrt(2 * 40), rtol=1e-3, atol=1e-4)


def test_a_last_feature_frame_that_is_missing_counts_as_the_one_before_it():
    features = np.random.default_rng(0).standard_normal((2, 40)).astype(np.float32)
    samples = np.zeros(400, np.int16)  # two hops and a half, so two frames of two hops
    expected = describe_frames(features[[0, 1, 1, 1]], samples, 160, RATE)
    np.testing.assert_array_equal(describe_frames(features, samples, 160, RATE), expected)


def some_sounds(mels=40):
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((7, described_width(mels))).astype(np.float32)
    return Sounds("ab", weights, np.zeros(7, np.float32), np.full(7, 0.5, np.float32))


def test_sounds_are_saved_as_json_and_give_the_same_scores():
    sounds = some_sounds()
    again = Sounds.from_tree(json.loads(json.dumps(sounds.tree())), 40)
    assert again == sounds
    x = np.random.default_rng(1).standard_normal((5, described_width(40))).astype(np.float32)
    np.testing.assert_array_equal(again.scores(x), sounds.scores(x))


@pytest.mark.parametrize(
    "changes",
    [
        {"characters": "abc"}, {"characters": "aa"}, {"characters": ["a", "b"]}, {"weights": [[0.0]]},
        {"bias": [float("nan")] * 7}, {"bias": [1e9] * 7}, {"stay": [1.0] * 7}, {"stay": "x"},
    ],
)  # fmt: skip
def test_damaged_sounds_are_refused(changes):
    with pytest.raises(ValueError):
        Sounds.from_tree(some_sounds().tree() | changes, 40)


def test_sounds_of_other_features_are_refused():
    with pytest.raises(ValueError):
        Sounds.from_tree(some_sounds().tree(), 6)
