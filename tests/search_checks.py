"""What the tests of searches share: encoder frames, chunks of them, a scorer, and the comparison with an oracle."""

import pytest
import torch
from random_model import WIDTH


class Pairs:
    """Scores each symbol after the one before it, and counts symbols. Forbids the symbol 0 after three others."""

    blank_weight = 0.0

    def __init__(self, labels, seed, size):
        generator = torch.Generator().manual_seed(seed)
        self.table = size * torch.randn(labels + 1, labels, generator=generator, dtype=torch.float64)

    def start(self, batch):
        return torch.full((batch,), len(self.table) - 1), (torch.zeros(batch, 1),)

    def scores(self, state):
        last, (count,) = state
        scores = self.table[last] * (1 + count % 3)
        scores[count[:, 0] % 4 == 3, 0] = -torch.inf
        return scores

    def advance(self, state, symbols):
        _, (count,) = state
        return symbols, (count + 1,)

    def finish(self, state):
        return torch.zeros(len(state[0]))


def check_close(hypothesis, expected):
    tokens, frames, log_probs, score, truncated = expected
    assert (hypothesis.tokens, hypothesis.frames, hypothesis.truncated) == (tokens, frames, truncated)
    assert hypothesis.log_probs == pytest.approx(log_probs, rel=1e-9, abs=1e-12)
    assert hypothesis.score == pytest.approx(score, rel=1e-9, abs=1e-12)


def encoded(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(len(lengths), max(lengths), WIDTH, generator=generator, dtype=torch.float64)
    for i, length in enumerate(lengths):
        frames[i, length:] = torch.nan
    return frames, torch.tensor(lengths)


def chunks_of(frames, lengths, sizes):
    """Yield chunks (frames, lengths) of all streams: with `sizes` (chunks, B) frames of each."""
    places = [0] * len(lengths)
    for row in sizes:
        row = [min(size, int(length) - place) for size, length, place in zip(row, lengths, places)]
        chunk = torch.full((len(row), max(row), frames.shape[2]), torch.nan, dtype=frames.dtype)
        for i, size in enumerate(row):
            chunk[i, :size] = frames[i, places[i] : places[i] + size]
            places[i] += size
        yield chunk, torch.tensor(row)
    assert places == lengths.tolist()


def copies(state):
    """All numbers of a state."""
    if isinstance(state, tuple):
        return [x for part in state for x in copies(part)]
    return [state.clone()] if isinstance(state, torch.Tensor) else []
