"""An n-gram language model as a scorer of a search: all symbols after all hypotheses at once, on any device."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from rnnt.ngram.tables import Tables

_END, _UNKNOWN = 0, 2  # the numbers of </s> and <unk>, after the symbols


@dataclass(frozen=True)
class NGram:
    """A Scorer that adds the weighted log-probabilities of an n-gram model over the model's symbols.

    A state is a tensor (n,): the longest context of each hypothesis that the n-gram model has. Hypotheses with equal
    states are scored alike from there on.

    order, symbols, begin, has_end: as in `Tables`, as are the tensors. unknown: the symbols that are scored as <unk>.
    """

    weight: float
    order: int
    symbols: int
    begin: int
    has_end: bool
    unknown: torch.Tensor
    known: torch.Tensor
    unigrams: torch.Tensor
    keys: torch.Tensor
    log_probs: torch.Tensor
    targets: torch.Tensor
    backoffs: torch.Tensor
    fallbacks: torch.Tensor
    first: torch.Tensor

    @classmethod
    def of_tables(cls, tables: Tables, weight: float = 1.0, device: str | torch.device = "cpu") -> "NGram":
        """Put an n-gram model on a device. Raises ValueError unless the weight is finite."""
        if not math.isfinite(weight):
            raise ValueError(f"the weight of the language model is {weight}; give a number such as 0.3")
        names = ("known", "unigrams", "keys", "log_probs", "targets", "backoffs", "fallbacks", "first")
        tensors = {name: torch.from_numpy(getattr(tables, name)).to(device) for name in names}
        unknown = torch.from_numpy(np.flatnonzero(~tables.known)).to(device)
        start, has_end = tables.start, tables.has_end
        return cls(weight, tables.order, tables.symbols, start, has_end, unknown, **tensors)

    @property
    def blank_weight(self) -> float:
        """The weight with which the model's decision for or against blank counts as the language model's."""
        return self.weight

    def start(self, batch: int) -> torch.Tensor:
        """Return the state (batch,) at the beginning of a sentence."""
        return torch.full((batch,), self.begin, device=self.keys.device)

    def scores(self, state: torch.Tensor) -> torch.Tensor:
        """Return the weighted log-probability (n, symbols) of each symbol after each hypothesis."""
        scores = self.unigrams.repeat(len(state), 1)
        contexts = self._contexts(state)[:-1]
        # The children of the empty context are in `unigrams`.
        first = self.first[contexts]
        counts = torch.where(contexts > 0, self.first[contexts + 1] - first, 0)
        totals = counts.sum(dim=1).tolist()
        backoffs = self.backoffs[contexts]
        rows = torch.arange(len(state), device=state.device)
        # From the shortest context to the longest: back off, then overwrite the words that follow this context.
        for level in reversed(range(len(contexts))):
            scores += backoffs[level, :, None]
            if totals[level]:
                row = torch.repeat_interleave(rows, counts[level], output_size=totals[level])
                start = first[level] - (counts[level].cumsum(0) - counts[level])
                child = start[row] + torch.arange(totals[level], device=state.device)
                word = self.keys[child] - contexts[level][row] * self._words
                scores[row, word] = self.log_probs[child]
        if len(self.unknown):
            scores[:, self.unknown] = scores[:, self.symbols + _UNKNOWN, None].clone()
        return scores[:, : self.symbols] * self.weight

    def advance(self, state: torch.Tensor, symbols: torch.Tensor) -> torch.Tensor:
        """Return the state after one more symbol (n,) of each hypothesis."""
        words = torch.where(self.known[symbols], symbols, self.symbols + _UNKNOWN)
        return self.follow(state, words)[1]

    def finish(self, state: torch.Tensor) -> torch.Tensor:
        """Return the weighted log-probability (n,) that each hypothesis ends here; 0 if the model has no </s>."""
        if not self.has_end:
            return torch.zeros(len(state), device=state.device)
        return self.follow(state, torch.full_like(state, self.symbols + _END))[0] * self.weight

    def follow(self, state: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability (n,) of a word (n,) after each state, and the state after it.

        Words are numbered as in `Tables`. The log-probability is not weighted.
        """
        contexts = self._contexts(state)
        keys = contexts * self._words + words
        child = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        found = self.keys[child] == keys
        level = found.int().argmax(dim=0, keepdim=True)  # the longest context that the word follows
        known = found.any(dim=0)
        child = child.gather(0, level)[0]
        backoffs = self.backoffs[contexts].cumsum(dim=0) - self.backoffs[contexts]
        levels = torch.where(known, level[0], self.order - 1)
        backoff = backoffs.gather(0, levels[None])[0]
        log_prob = torch.where(known, self.log_probs[child], self.unigrams[words])
        return log_prob + backoff, torch.where(known, self.targets[child], 0).long()

    @property
    def _words(self) -> int:
        return self.symbols + 3

    def _contexts(self, state: torch.Tensor) -> torch.Tensor:
        """Return the contexts (order, n) that each hypothesis falls back to, its longest first, the empty one last."""
        contexts = [state]
        for _ in range(self.order - 1):
            contexts.append(self.fallbacks[contexts[-1]].long())
        return torch.stack(contexts)
