"""Sounds that are estimated from noisy examples, without their true places."""

import numpy as np

from rnnt.boundaries import Expected, state_edges
from rnnt.reestimation import estimate_sounds, frequent_characters
from rnnt.sounds import MOST_CHARACTERS, states


def examples(count, characters="abcde", seed=0):
    """Words of five characters, each of which has two means of 7 numbers; the expected places are even."""
    rng = np.random.default_rng(seed)
    means = 3 * np.random.default_rng(9).standard_normal((1 + 2 * (len(characters) + 1), 7))
    described, expected, edges = [], [], []
    for _ in range(count):
        words = [list(rng.permutation(list(characters))) for _ in range(rng.integers(1, 4))]
        found, _ = states(characters, words)
        lasts = rng.integers(2, 7, len(found))
        described.append((means[np.repeat(found, lasts)] + rng.standard_normal((lasts.sum(), 7))).astype(np.float32))
        expected.append(Expected(found, np.linspace(0, lasts.sum(), len(found) + 1)))
        edges.append(np.concatenate([[0], np.cumsum(lasts)]))
    return described, expected, edges


def test_sounds_find_the_places_that_were_not_known():
    described, expected, _ = examples(60)
    sounds = estimate_sounds(described, expected, "abcde")
    for _ in range(2):
        sounds = estimate_sounds(described, expected, "abcde", sounds)
    described, expected, edges = examples(10, seed=1)
    found = state_edges([sounds.scores(x) for x in described], expected, sounds.stay)
    errors = np.concatenate([np.abs(a - b) for a, b in zip(found, edges)])
    before = np.concatenate([np.abs(each.edges - b) for each, b in zip(expected, edges)])
    assert errors.mean() < 0.3 < 1 < before.mean()
    assert type(sounds).from_tree(sounds.tree() | {"weights": sounds.weights.tolist()}, 2) == sounds


def test_nothing_to_learn_from():
    assert estimate_sounds([], [], "") is None
    assert estimate_sounds([np.zeros((5, 7), np.float32)], [Expected(np.array([0]), np.array([0.0, 5.0]))], "") is None


def test_the_most_frequent_characters_are_kept():
    assert frequent_characters(["b a", "a\tc"]) == "abc"
    many = "".join(map(chr, range(0x4E00, 0x4E00 + MOST_CHARACTERS + 50)))
    assert frequent_characters([many, many[50:]]) == many[50:]


def test_texts_that_do_not_fit_into_their_time_give_no_sounds_and_no_nan():
    """A model that has learned nothing may write hundreds of characters for a second."""
    rng = np.random.default_rng(0)
    found, _ = states("ab", [list("ab" * 60)] * 4)
    described = [rng.standard_normal((length, 7)).astype(np.float32) for length in (5, 40)]
    expected = [Expected(found, np.linspace(0, len(x), len(found) + 1)) for x in described]
    first = estimate_sounds(described, expected, "ab")
    assert first is None or first.sane()
    assert estimate_sounds(described, expected, "ab", first) is None or first.sane()
    good, places, _ = examples(30, "ab")
    sounds = estimate_sounds(good, places, "ab")
    assert sounds.sane()
    again = estimate_sounds([*good, *described], [*places, *expected], "ab", sounds)
    assert again.sane()
