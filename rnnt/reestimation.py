"""Estimates the sounds of characters from utterances whose texts are known (Baum-Welch).

The first estimate takes each state to last as long as it was expected to. Each further one weights the frames by the
probabilities of their states under the one before.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np

from rnnt.boundaries import Expected, durations
from rnnt.sounds import MOST_CHARACTERS, STATES, Sounds

_ROUNDS = 4
_SCALE = 0.7  # of log-likelihoods: neighbouring frames are not independent
_PRIOR_FRAMES = 10.0  # as many frames draw the mean of a state towards that of all
_PRIOR_STATES, _PRIOR_LENGTH = 3.0, 3.0  # as many more states last so many frames
_LEAST_LENGTH = 1.2
_RIDGE = 0.01  # more variance of each number
_DIGITS = 6  # of the numbers that are kept


def frequent_characters(texts: Sequence[str]) -> str:
    """Return the characters of texts, sorted; only the most frequent ones if there are very many."""
    counts = Counter(chain.from_iterable("".join(text.split()) for text in texts))
    return "".join(sorted(character for character, _ in counts.most_common(MOST_CHARACTERS)))


def estimate_sounds(
    described: Sequence[np.ndarray], expected: Sequence[Expected], characters: str, before: Sounds | None = None
) -> Sounds | None:
    """Return the sounds of characters after a few rounds, or None if no utterance has words that fit into its time.

    described: what `describe_frames` returned for each utterance (S, D). expected: its states, and roughly when they
    last. before: an earlier estimate for the same characters, to begin with.
    """
    if not any(len(each.states) > 1 for each in expected):
        return None
    count = 1 + STATES * (len(characters) + 1)
    frames = np.concatenate(described)
    covariance = np.cov(frames, rowvar=False, bias=True)
    kinds = np.concatenate([each.states for each in expected])
    sounds = before
    for _ in range(_ROUNDS):
        if sounds is None:
            lasts = [np.diff(each.edges) for each in expected]
            shares = [_expected_shares(each, len(x), count) for each, x in zip(expected, described)]
        else:
            lasts, shares = durations([sounds.scores(x) for x in described], expected, sounds.stay)
        shares = np.concatenate(shares)
        if not shares.any():
            return None
        gaussians = _gaussians(frames, shares, covariance)
        stay = _stay(kinds, np.concatenate(lasts), count)
        sounds = Sounds(characters, *map(_rounded, (*gaussians, stay)))
        if not sounds.sane():
            return None
    return sounds


def _expected_shares(expected: Expected, length: int, count: int) -> np.ndarray:
    """Return the shares (S, C) of each state in each frame, if it lasts as was expected."""
    place = np.searchsorted(expected.edges[1:-1], np.arange(length) + 0.5, side="right")
    return (expected.states[place][:, None] == np.arange(count)).astype(np.float32)


def _gaussians(frames: np.ndarray, shares: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (C, D) and the bias (C,) of Gaussians with one covariance.

    frames: (N, D); shares: of each state in each of them (N, C); covariance: of the frames.
    """
    mean = frames.mean(0, dtype=np.float64)
    weight_C = shares.sum(0, dtype=np.float64)
    offsets_CD = (shares.T @ (frames - mean.astype(np.float32))) / (weight_C[:, None] + _PRIOR_FRAMES)
    within = covariance - (offsets_CD.T * (weight_C / weight_C.sum())) @ offsets_CD
    within += np.diag(_RIDGE * np.diag(within) + 1e-9)
    weights_CD = np.linalg.solve(within, offsets_CD.T).T
    bias_C = -0.5 * (weights_CD * offsets_CD).sum(1) - weights_CD @ mean
    return (_SCALE * weights_CD).astype(np.float32), (_SCALE * bias_C).astype(np.float32)


def _stay(kinds: np.ndarray, lasts: np.ndarray, count: int) -> np.ndarray:
    """Return the probability that a state of each kind (C,) stays, given how many frames states of these kinds last."""
    total = np.bincount(kinds, lasts, count) + _PRIOR_STATES * _PRIOR_LENGTH
    number = np.bincount(kinds, minlength=count) + _PRIOR_STATES
    return (1 - 1 / np.maximum(total / number, _LEAST_LENGTH)).astype(np.float32)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.array([float(f"{value:.{_DIGITS}g}") for value in values.flat], np.float32).reshape(values.shape)
