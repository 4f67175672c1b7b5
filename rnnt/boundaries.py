"""How long each state of known words lasts: the forward-backward algorithm, on chunks of audio side by side.

A state is entered after the one before it; the states of pauses may be left out. The states that come in question at
a frame lie near the places where they were expected. So an utterance is divided into chunks, each of which is aligned
with the states around it, from some frames before its first to some after its last. All chunks of all utterances are
worked through at once. The time that a state lasts is its probability, summed over the frames.

Letters of the shapes: S frames, C states of the model, J states of an utterance in order.
In the computation: T frames of a chunk and around it, J states in the window of a chunk, R chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnt.sounds import PAUSE

_CHUNK = 30  # frames
_AROUND = 15  # frames before and after a chunk that are aligned with it
_REACH = 15  # frames that a state may lie from the place where it was expected, if it is to be in a chunk's window
_PLACE_WEIGHT = 0.4
_PLACE_FRAMES = 2.5  # nearer to the expected place, distances hardly count
_PLACE_STEP = 5  # frames that share these weights
_BEGIN_FRAMES = 5.0  # scale of the distances at the first and the last frame of a chunk
_SKIP = 0.2  # probability that a pause is left out
_LEAST = 1e-10  # likelihood of a state at a frame, compared with the best state
_NUMBERS = 12_000  # of a frame's states in all chunks that are worked through at once: they fit into the cache


@dataclass(frozen=True)
class Expected:
    """The states of an utterance (J,), and the frames between which each was expected: (J+1,), never falling.

    Frame s lasts from s to s + 1.
    """

    states: np.ndarray
    edges: np.ndarray


def durations(
    scores: Sequence[np.ndarray], expected: Sequence[Expected], stay_C: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return for each utterance how many frames each of its states lasts (J,), and the same for each frame (S, C).

    scores: log-likelihood of each state at each frame of each utterance (S, C). stay_C: probability that the next frame
    has the same state. An utterance with more states than frames has the durations that were expected.
    """
    return _durations(scores, expected, stay_C, True)


def state_edges(scores: Sequence[np.ndarray], expected: Sequence[Expected], stay_C: np.ndarray) -> list[np.ndarray]:
    """Return the frames between which each state of each utterance lasts (J+1,). Arguments as in `durations`."""
    lasts, _ = _durations(scores, expected, stay_C, False)
    return [np.concatenate([[0.0], np.cumsum(last)]) for last in lasts]


@dataclass(frozen=True)
class _Chunks:
    """Chunks of utterances: the utterance of each, the first frame around it, and its window of states; all (R,)."""

    utterance: np.ndarray
    start: np.ndarray
    first: np.ndarray
    end: np.ndarray

    @classmethod
    def of(cls, lengths: Sequence[int], expected: Sequence[Expected]) -> "_Chunks":
        parts = []
        for number, (length, each) in enumerate(zip(lengths, expected)):
            start = np.arange(-_AROUND, length - _AROUND, _CHUNK)
            stop = start + _CHUNK + 2 * _AROUND
            count = len(each.states)
            first = np.minimum(np.searchsorted(each.edges[1:], start - _REACH), count - 1)
            end = np.maximum(np.searchsorted(each.edges[:-1], stop + _REACH), first + 1)
            first, end = np.where(start < 0, 0, first), np.where(stop > length, count, end)
            parts.append((np.full(len(start), number), start, first, end))
        return cls(*(np.concatenate(columns) for columns in zip(*parts)))

    def blocks(self) -> list["_Chunks"]:
        """Return the chunks in blocks that do not take too much memory."""
        widest = int((self.end - self.first).max())
        rows = max(_NUMBERS // widest, 1)
        return [
            _Chunks(*(column[place : place + rows] for column in vars(self).values()))
            for place in range(0, len(self.start), rows)
        ]


def _durations(scores, expected, stay_C, frames) -> tuple[list[np.ndarray], list[np.ndarray]]:
    lasts = [np.zeros(len(each.states)) for each in expected]
    shares = [np.zeros_like(each) for each in scores] if frames else []
    if not scores:
        return [], []
    lengths = [len(each) for each in scores]
    likelihoods = _likelihoods(scores)
    offsets = np.cumsum([0, *lengths])
    for block in _Chunks.of(lengths, expected).blocks():
        states_JR, gammas = _align(block, likelihoods, offsets, expected, stay_C)
        total_RJ = gammas.sum(0).T
        for row, (number, start, first, end) in enumerate(zip(*(x.tolist() for x in vars(block).values()))):
            lasts[number][first:end] += total_RJ[row, : end - first]
            if frames:
                begin = start + _AROUND
                part = gammas[: lengths[number] - begin, : end - first, row]
                one_hot = states_JR[: end - first, row, None] == np.arange(len(stay_C))
                shares[number][begin : begin + len(part)] = part @ one_hot.astype(np.float32)
    for number, (length, each) in enumerate(zip(lengths, expected)):
        lasts[number][-1] -= -length % _CHUNK  # the frames of the last chunk that come after the utterance
        if abs(lasts[number].sum() - length) > 1:  # no path through some chunk has a probability above 0
            lasts[number] = np.diff(each.edges)
            if frames:
                shares[number][:] = 0
    return lasts, shares


def _likelihoods(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return the likelihood of each state at each frame, compared with the best one.

    One more row stands for frames before and after an utterance, which are pauses; one more column for no state.
    """
    score = np.concatenate([*scores, np.zeros_like(scores[0][:1])])
    score -= score.max(1, keepdims=True)
    result = np.zeros((len(score), score.shape[1] + 1), np.float32)
    np.maximum(np.exp(score, out=score), _LEAST, out=result[:, :-1])
    result[-1] = 0
    result[-1, PAUSE] = 1
    return result


def _align(block, likelihoods, offsets, expected, stay_C) -> tuple[np.ndarray, np.ndarray]:
    """Return the states of each window (J, R), and their probabilities at the frames of each chunk (frames, J, R)."""
    none = len(stay_C)
    count_R = block.end - block.first
    places_J1 = np.arange(count_R.max())[:, None]
    numbers = np.unique(block.utterance)
    chosen = [expected[number] for number in numbers]
    starts = np.cumsum([0, *(len(each.states) for each in chosen)])[np.searchsorted(numbers, block.utterance)]
    places_JR = starts + block.first + np.minimum(places_J1, count_R - 1)
    known_JR = places_J1 < count_R
    states_JR = np.where(known_JR, np.concatenate([each.states for each in chosen])[places_JR], none)
    begins_JR, ends_JR = (
        np.concatenate([each.edges[part] for each in chosen]).astype(np.float32)[places_JR]
        for part in (slice(None, -1), slice(1, None))
    )
    around = _CHUNK + 2 * _AROUND
    lengths = np.diff(offsets)[block.utterance]
    frames_TR = block.start + np.arange(around)[:, None]
    inside = (frames_TR >= 0) & (frames_TR < lengths)
    rows_TR = np.where(inside, frames_TR + offsets[block.utterance], len(likelihoods) - 1) * (none + 1)

    def distance(frame_R: np.ndarray) -> np.ndarray:
        frame_R = frame_R.astype(np.float32)
        return np.maximum(np.maximum(begins_JR - frame_R, frame_R - ends_JR), 0)

    seen = np.empty((around, *states_JR.shape), np.float32)
    for start in range(0, around, _PLACE_STEP):
        away = distance(frames_TR[start] + _PLACE_STEP / 2) / np.float32(_PLACE_FRAMES)
        weight = np.exp(-_PLACE_WEIGHT * (np.sqrt(1 + away * away) - 1))
        for t in range(start, start + _PLACE_STEP):
            np.take(likelihoods, rows_TR[t] + states_JR, out=seen[t], mode="clip")
            seen[t] *= weight

    begins, ends = (np.exp(-distance(frames_TR[t] + 0.5) / np.float32(_BEGIN_FRAMES)) for t in (0, -1))
    first_R, last_R = block.start < 0, frames_TR[-1] >= lengths
    begins[:, first_R] = places_J1 == 0
    ends[:, last_R] = places_J1 == count_R[last_R] - 1
    return states_JR, _probabilities(states_JR, np.append(stay_C, 0).astype(np.float32), begins, seen, ends)


def _probabilities(states_JR, stay, begins, seen, ends) -> np.ndarray:
    """Return the probabilities of the states at the frames of each chunk (frames, J, R), by a pass in each direction.

    stay: probability of each state to stay; begins and ends: weights of the states at the first and the last frame
    (J, R); seen: likelihood of each at each frame (T, J, R).
    """
    stay_JR, pause_JR = stay[states_JR], states_JR == PAUSE
    go_JR = (1 - stay_JR[:-1]) * np.where(pause_JR[1:], np.float32(1 - _SKIP), np.float32(1))
    skip_JR = np.where(pause_JR[1:-1], (1 - stay_JR[:-2]) * np.float32(_SKIP), np.float32(0))
    gammas = np.empty((_CHUNK, *states_JR.shape), np.float32)
    alpha, alone = begins * seen[0], np.empty_like(begins)
    for t in range(1, _AROUND + _CHUNK):
        after = gammas[t - _AROUND] if t >= _AROUND else np.empty_like(alpha)
        np.multiply(alpha, stay_JR, out=after)
        after[1:] += np.multiply(alpha[:-1], go_JR, out=alone[1:])
        after[2:] += np.multiply(alpha[:-2], skip_JR, out=alone[2:])
        after *= seen[t]
        after /= np.maximum(after.sum(0), 1e-30)
        alpha = after
    beta = ends
    for t in range(len(seen) - 1, _AROUND - 1, -1):
        if t < _AROUND + _CHUNK:
            gamma = gammas[t - _AROUND]
            gamma *= beta
            gamma /= np.maximum(gamma.sum(0), 1e-30)
        beta *= seen[t]
        after = beta * stay_JR
        after[:-1] += np.multiply(beta[1:], go_JR, out=alone[1:])
        after[:-2] += np.multiply(beta[2:], skip_JR, out=alone[2:])
        after /= np.maximum(after.sum(0), 1e-30)
        beta = after
    return gammas
