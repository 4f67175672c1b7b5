"""The interface of what steers a search besides the model: language models, hot words. And several of them as one."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch

State = TypeVar("State")


class Scorer(Protocol[State]):
    """Adds a score to each symbol that may follow a hypothesis. The scores of several scorers are added up.

    A row is a hypothesis. A state is a tensor, or a tuple of states, and every tensor has the rows as dim 0. So a
    search can select rows and put them together. All tensors are on the model's device. A scorer holds no state.

    A language model says which symbol comes next, not whether one comes at this frame. Its log-probabilities make every
    symbol less probable than blank, and too few symbols would be found. So the model's own decision for or against
    blank is taken as the language model's: with `blank_weight` w, blank gets w log(p) on top, p being the model's
    probability of blank, and each symbol w log(1 - p) (`blank_lm_score_mode=lm_weighted_full` in NeMo). A language
    model has its weight there, a negative one if it is subtracted, and hot words have 0, which leaves blank alone.

    This one favours the symbol 3, and needs no state but the number of rows:

    >>> class Favour:
    ...     blank_weight = 0.0
    ...     def start(self, batch):
    ...         return torch.zeros(batch)
    ...     def scores(self, state):
    ...         return state[:, None] + torch.tensor([0.0, 0.0, 0.0, 2.0])
    ...     def advance(self, state, symbols):
    ...         return state
    ...     def finish(self, state):
    ...         return torch.zeros(len(state))
    >>> favour = Favour()
    >>> favour.scores(favour.start(2)).shape
    torch.Size([2, 4])
    """

    blank_weight: float

    def start(self, batch: int) -> State:
        """Return the state of `batch` rows before their first symbol."""

    def scores(self, state: State) -> torch.Tensor:
        """Return what to add to the log-probability of each symbol (B, V-1), already weighted. -inf forbids one."""

    def advance(self, state: State, symbols: torch.Tensor) -> State:
        """Return the state after one more symbol (B,) of each row. The old state does not change."""

    def finish(self, state: State) -> torch.Tensor:
        """Return what to add to the hypotheses' scores (B,) when the utterance ends here.

        This is the weighted log-probability of the end in a language model, or takes the bonus of an unfinished hot
        word back.
        """


class Scorers:
    """Several scorers as one. Its state is a tuple of theirs, and its scores are the sums of theirs.

    blank_penalty: nats that are subtracted from the logit of blank, before the softmax. All alignments have one blank
    for each frame, so subtracted after the softmax it would favour none of them.
    """

    def __init__(self, scorers: Sequence[Scorer], blank_penalty: float = 0.0):
        self.scorers = tuple(scorers)
        self.blank_penalty = blank_penalty
        self.blank_weight = float(sum(scorer.blank_weight for scorer in self.scorers))

    def __bool__(self) -> bool:
        """Return whether there are any. Without one there are no scores to ask for."""
        return bool(self.scorers)

    def start(self, batch: int) -> tuple:
        """Return the states of all."""
        return tuple(scorer.start(batch) for scorer in self.scorers)

    def scores(self, states: tuple) -> torch.Tensor:
        """Return the sum of the scores (B, V-1). Raises ValueError if a score is NaN or infinitely high."""
        scores = [scorer.scores(state) for scorer, state in zip(self.scorers, states)]
        return self._checked(sum(scores[1:], scores[0]))

    def advance(self, states: tuple, symbols: torch.Tensor) -> tuple:
        """Return the states after one more symbol (B,) of each row."""
        return tuple(scorer.advance(state, symbols) for scorer, state in zip(self.scorers, states))

    def finish(self, states: tuple) -> torch.Tensor:
        """Return the sum of the last scores (B,). Raises ValueError if one is NaN or infinitely high."""
        scores = [scorer.finish(state) for scorer, state in zip(self.scorers, states)]
        return self._checked(sum(scores[1:], scores[0]))

    def steer(self, log_probs: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the model's log-probabilities (..., V) with the scores (..., V-1), by which symbols are chosen."""
        labels, blank = log_probs[..., :-1], log_probs[..., -1]
        if self.weighs_blank:
            of_label, of_blank = self.shifts(labels.logsumexp(-1), blank)
            labels, blank = labels + of_label[..., None], blank + of_blank
        return torch.cat((labels + scores, blank[..., None]), -1)

    @property
    def weighs_blank(self) -> bool:
        """Whether blank has another score than the model's log-probability."""
        return bool(self.blank_weight or self.blank_penalty)

    def shifts(self, rest: torch.Tensor, blank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `blank_weight` and `blank_penalty` add to the score of every symbol and to that of blank, (...).

        rest, blank: log-probabilities that it is not blank, and that it is (...). The sum over all symbols gives a
        `rest` that stays finite if blank is nearly certain.
        """
        of_label, of_blank = self.blank_weight * rest, self.blank_weight * blank
        if self.blank_penalty:
            total = torch.logaddexp(rest, blank - self.blank_penalty)
            of_label, of_blank = of_label - total, of_blank - self.blank_penalty - total
        return of_label, of_blank

    def _checked(self, scores: torch.Tensor) -> torch.Tensor:
        if scores.numel() and not scores.max() < torch.inf:  # false of NaN too
            names = ", ".join(type(scorer).__name__ for scorer in self.scorers)
            raise ValueError(f"a score of {names} is NaN or infinite; use finite scores, or -inf to forbid a symbol")
        return scores


def map_state(state: torch.Tensor | tuple, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor | tuple:
    """Apply a function to each tensor of a scorer's state, such as the selection of rows."""
    if isinstance(state, torch.Tensor):
        return function(state)
    parts = [map_state(part, function) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def state_tensors(state: torch.Tensor | tuple) -> list[torch.Tensor]:
    """Return the tensors of a scorer's state."""
    return [state] if isinstance(state, torch.Tensor) else [x for part in state for x in state_tensors(part)]


def score_sequences(scorer: Scorer, sequences: Sequence[Sequence[int]], rows: int = 1024) -> list[float]:
    """Return the score of each whole sequence of symbols, its end included. rows: sequences that are scored at once."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]), reverse=True)
    totals = [0.0] * len(sequences)
    for first in range(0, len(order), rows):
        places = order[first : first + rows]
        state = scorer.start(len(places))
        device = state_tensors(state)[0].device
        sums = torch.zeros(len(places), dtype=torch.float64, device=device)
        for u in range(len(sequences[places[0]]) + 1):
            left = sum(len(sequences[place]) > u for place in places[: len(sums)])
            ended = map_state(state, lambda x, left=left: x[left:])
            if left < len(sums):
                sums[left:] += scorer.finish(ended)
                for place, total in zip(places[left : len(sums)], sums[left:].tolist()):
                    totals[place] = total
            sums, state = sums[:left], map_state(state, lambda x, left=left: x[:left])
            if left:
                symbols = torch.tensor([sequences[place][u] for place in places[:left]], device=device)
                sums += scorer.scores(state).gather(1, symbols[:, None])[:, 0]
                state = scorer.advance(state, symbols)
    return totals
