"""Several scorers as one, and what they do to the model's log-probabilities."""

from typing import NamedTuple

import pytest
import torch

from rnnt.decoding.scorer import Scorers, map_state, score_sequences, state_tensors


class Count:
    """Scores every symbol by the number of symbols so far, times a factor."""

    def __init__(self, factor, blank_weight=0.0):
        self.factor, self.blank_weight = factor, blank_weight

    def start(self, batch):
        return torch.zeros(batch)

    def scores(self, state):
        return self.factor * state[:, None].expand(-1, 3)

    def advance(self, state, symbols):
        return state + symbols

    def finish(self, state):
        return -self.factor * state


def test_scores_are_added_up_and_states_advance_each_on_its_own():
    scorers = Scorers([Count(1.0, 0.5), Count(10.0, -0.2)])
    before = scorers.start(2)
    after = scorers.advance(before, torch.tensor([2, 3]))
    assert scorers.scores(after).tolist() == [[22.0] * 3, [33.0] * 3] and scorers.finish(after).tolist() == [-22, -33]
    assert scorers.scores(before).tolist() == [[0.0] * 3] * 2
    assert scorers.blank_weight == pytest.approx(0.3) and scorers and not Scorers([])


@pytest.mark.parametrize("weight", [0.0, 0.7, -0.4])
def test_blank_and_the_decision_for_a_symbol_are_weighed_alike(weight):
    """A language model over symbols, with the model's own decision for blank, is a distribution over all of V."""
    logits = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_probs, language = logits.log_softmax(-1), logits[:, 1:].flip(1).log_softmax(-1)
    blank = log_probs[:, -1:]
    whole = torch.cat((language + torch.log1p(-blank.exp()), blank), 1)
    assert torch.allclose(whole.exp().sum(1), torch.ones(4, dtype=torch.float64))
    found = Scorers([Count(0.0, weight)]).steer(log_probs, weight * language)
    expected = log_probs + weight * whole if weight else log_probs
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("penalty", [3.0, -1.0])
def test_a_penalty_of_blank_is_its_logits(penalty):
    logits = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scorers = Scorers([], penalty)
    found = scorers.steer(logits.log_softmax(-1), torch.zeros(4, 4))
    logits[:, -1] -= penalty
    assert torch.allclose(found, logits.log_softmax(-1)) and scorers.weighs_blank and not scorers
    assert not Scorers([Count(1.0)]).weighs_blank and Scorers([Count(1.0, 0.2)]).weighs_blank


def test_a_certain_blank_leaves_finite_scores():
    log_probs = torch.tensor([[0.0, 1.0, 2.0, 200.0]]).log_softmax(-1)
    for weight in (0.5, -0.5):
        assert Scorers([Count(0.0, weight)]).steer(log_probs, torch.zeros(1, 3)).isfinite().all()


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_scores_that_are_no_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="a score of Count, Count is NaN or infinite; use finite scores, or -inf"):
        Scorers([Count(1.0), Count(wrong)]).scores((torch.ones(2), torch.ones(2)))
    with pytest.raises(ValueError, match="a score of Count is NaN or infinite"):
        Scorers([Count(-wrong)]).finish((torch.ones(2),))
    assert Scorers([Count(-torch.inf)]).scores((torch.ones(2),)).tolist() == [[-torch.inf] * 3] * 2


class Pair(NamedTuple):
    left: torch.Tensor
    right: tuple[torch.Tensor, ...]


def test_a_state_of_states_keeps_its_form():
    state = Pair(torch.arange(3), (torch.arange(6).view(3, 2), ()))
    found = map_state((state, torch.arange(3)), lambda x: x[[2, 0]])
    assert isinstance(found[0], Pair) and found[0].right[0].tolist() == [[4, 5], [0, 1]] and found[0].right[1] == ()
    assert [x.tolist() for x in state_tensors(found)] == [[2, 0], [[4, 5], [0, 1]], [2, 0]]


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_sequences_are_scored_one_by_one_or_together(rows):
    """The scores of `Count` before each symbol are the sums of the symbols before it."""
    sequences = [[2, 1], [], [0, 2, 2, 1], [1], [2, 1, 0, 0], []]
    sums = [[sum(sequence[:u]) for u in range(len(sequence) + 1)] for sequence in sequences]
    expected = [sum(before) - last for *before, last in sums]
    assert score_sequences(Count(1.0), sequences, rows) == expected
    assert score_sequences(Count(1.0), []) == []
