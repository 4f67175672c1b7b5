"""How long states last, against a forward-backward pass over the whole utterance, and for odd input."""

import numpy as np
import pytest

from rnnt import boundaries
from rnnt.boundaries import Expected, durations, state_edges
from rnnt.sounds import PAUSE

KINDS = 5
STAY = np.array([0.8, 0.6, 0.7, 0.6, 0.7], np.float32)


def whole(scores, each):
    """The same computation over all frames and all states at once, in logarithms."""
    count, length = len(each.states), len(scores)
    middle = np.arange(length)[:, None] + 0.5
    seen = scores[:, each.states].astype(float) - scores.max(1, keepdims=True)
    step = boundaries._PLACE_STEP
    middle = np.floor(np.arange(length) / step)[:, None] * step + step / 2
    away = np.maximum(np.maximum(each.edges[:-1] - middle, middle - each.edges[1:]), 0) / boundaries._PLACE_FRAMES
    seen -= boundaries._PLACE_WEIGHT * (np.sqrt(1 + away**2) - 1)
    moves = np.full((count, count), -np.inf)
    for j, kind in enumerate(each.states):
        moves[j, j] = np.log(STAY[kind])
        if j + 1 < count:
            before_pause = each.states[j + 1] == PAUSE
            moves[j, j + 1] = np.log(1 - STAY[kind]) + np.log(0.8 if before_pause else 1.0)
            if j + 2 < count and before_pause:
                moves[j, j + 2] = np.log(1 - STAY[kind]) + np.log(0.2)
    start = np.full(count, -np.inf)
    start[:2] = moves[0, :2]
    end = np.full(count, -np.inf)
    end[-1] = moves[-1, -1]
    end[-2] = moves[-2, -1]
    alpha, beta = np.empty((2, length, count))
    alpha[0] = start + seen[0]
    for t in range(1, length):
        alpha[t] = np.logaddexp.reduce(alpha[t - 1][:, None] + moves, axis=0) + seen[t]
    beta[-1] = end
    for t in range(length - 2, -1, -1):
        beta[t] = np.logaddexp.reduce(moves + (seen[t + 1] + beta[t + 1])[None], axis=1)
    both = alpha + beta
    return np.exp(both - np.logaddexp.reduce(both, axis=1)[:, None])


def utterance(words, length, seed, wrong_by=0.0):
    """States of words, scores that favour each in its turn, and places that are wrong by some frames."""
    rng = np.random.default_rng(seed)
    states = [PAUSE]
    for _ in range(words):
        states += [1, 2, 3, 4, PAUSE] if rng.random() < 0.5 else [3, 4, 1, 2, PAUSE]
    edges = np.linspace(0, length, len(states) + 1)
    scores = rng.standard_normal((length, KINDS)).astype(np.float32)
    for t in range(length):
        scores[t, states[np.searchsorted(edges[1:-1], t + 0.5)]] += 3
    expected = np.maximum.accumulate((edges + wrong_by).clip(0, length))
    expected[[0, -1]] = 0, length
    return scores, Expected(np.array(states), expected), edges


def test_an_utterance_of_one_chunk_is_aligned_as_a_whole():
    scores, each, _ = utterance(3, 28, 0)
    (lasts,), (shares,) = durations([scores], [each], STAY)
    gamma = whole(scores, each)
    np.testing.assert_allclose(lasts, gamma.sum(0), atol=1e-3)
    for kind in range(KINDS):
        np.testing.assert_allclose(shares[:, kind], gamma[:, each.states == kind].sum(1), atol=1e-3)


@pytest.mark.parametrize("wrong_by", [-4, 0, 4])
def test_chunks_agree_with_the_whole_and_find_states_that_were_expected_elsewhere(wrong_by):
    scores, each, edges = utterance(40, 600, 1, wrong_by)
    (found,) = state_edges([scores], [each], STAY)
    exact = np.concatenate([[0], np.cumsum(whole(scores, each).sum(0))])
    np.testing.assert_allclose(found, exact, atol=0.5)
    assert np.abs(found - edges).mean() < 1
    assert found[-1] == pytest.approx(600)


def test_neither_the_batch_nor_its_blocks_change_anything(monkeypatch):
    batch = [utterance(words, length, words) for words, length in ((1, 9), (12, 200), (0, 50), (5, 61), (30, 500))]
    scores, expected = [x[0] for x in batch], [x[1] for x in batch]
    together = state_edges(scores, expected, STAY)
    alone = [state_edges([s], [e], STAY)[0] for s, e in zip(scores, expected)]
    monkeypatch.setattr(boundaries, "_NUMBERS", 100)
    for a, b, c in zip(together, alone, state_edges(scores, expected, STAY)):
        np.testing.assert_allclose(a, b, atol=1e-3)
        np.testing.assert_allclose(a, c, atol=1e-3)
    assert together[2].tolist() == [0, 50]


@pytest.mark.parametrize("length", [1, 3, 7, 40])
def test_edges_never_fall_also_with_more_states_than_frames(length):
    scores, each, _ = utterance(9, length, 2)
    (found,) = state_edges([scores], [each], STAY)
    assert (np.diff(found) >= 0).all() and found[0] == 0 and found[-1] == pytest.approx(length, abs=0.01)
    squeezed = Expected(each.states, np.array([0.0] * len(each.states) + [length]))
    assert (np.diff(state_edges([scores], [squeezed], STAY)[0]) >= 0).all()


def test_no_utterances():
    assert state_edges([], [], STAY) == []
