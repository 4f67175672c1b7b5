"""The definition of the loss as an oracle: the sum over all alignments, one by one."""

import itertools

import numpy as np
import pytest


@pytest.fixture(scope="session")
def brute_force():
    """f(blank, label, T, U) -> log P and the expected counts of blanks and labels, from float64 scores (T, U+1)."""
    return _brute_force


def _brute_force(blank, label, frames, labels):
    scores, arcs = [], []
    # An alignment interleaves T blanks with U labels, and ends with a blank.
    for places in itertools.combinations(range(frames - 1 + labels), labels):
        t = u = 0
        score, taken = 0.0, []
        for step in range(frames + labels):
            is_label = step in places
            taken.append((int(is_label), t, u))
            score += label[t, u] if is_label else blank[t, u]
            t, u = (t, u + 1) if is_label else (t + 1, u)
        assert (t, u) == (frames, labels)
        scores.append(score)
        arcs.append(taken)
    log_p = np.logaddexp.reduce(np.array(scores, dtype=np.float64))
    expected = np.zeros((2, frames, labels + 1))
    for score, taken in zip(scores, arcs):
        for arc in taken:
            expected[arc] += np.exp(score - log_p)
    return log_p, expected[0], expected[1]
