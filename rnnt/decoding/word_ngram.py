"""An n-gram language model of words as a scorer of a search whose symbols spell words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from rnnt.decoding.ngram import NGram
from rnnt.ngram.arpa import Arpa
from rnnt.ngram.lexicon import ROOT, Lexicon, build_lexicon
from rnnt.ngram.tables import RESERVED, Tables, build_tables
from rnnt.tokenizer import Tokenizer

_UNKNOWN = 2  # the number of <unk>, after the words

State = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class WordNGram:
    """A Scorer that adds the weighted log-probabilities of words.

    The score of a word is spread over its symbols: a symbol gets the change of the highest unigram log-probability of
    all words that begin like this. The symbol that begins the next word corrects the sum to the word's log-probability
    in its context. Letters that begin no word get the log-probability of <unk>.

    A state is a pair of tensors (n,): the state of the n-gram model before the present word, and the node of the
    lexicon to which the word's symbols have led.

    words: the n-gram model. The other fields are as in `Lexicon`, `numbers` is its `words`, with <unk> for nodes that
    spell none.
    """

    weight: float
    symbols: int
    other: int
    words: NGram
    numbers: torch.Tensor
    begins: torch.Tensor
    silent: torch.Tensor
    keys: torch.Tensor
    children: torch.Tensor
    first: torch.Tensor
    bests: torch.Tensor

    @classmethod
    def of_lexicon(cls, tables: Tables, lexicon: Lexicon, weight: float, device: str | torch.device) -> "WordNGram":
        """Put a model of words, and their spellings by symbols, on a device. Raises ValueError for a bad weight."""
        words = NGram.of_tables(tables, weight, device)
        numbers = np.where(lexicon.words < 0, tables.symbols + _UNKNOWN, lexicon.words)
        names = ("begins", "silent", "keys", "children", "first", "bests")
        tensors = {name: torch.from_numpy(getattr(lexicon, name)).to(device) for name in names}
        symbols, numbers = len(lexicon.begins), torch.from_numpy(numbers).to(device)
        return cls(weight, symbols, lexicon.other, replace(words, weight=1.0), numbers, **tensors)

    @property
    def blank_weight(self) -> float:
        """The weight with which the model's decision for or against blank counts as the language model's."""
        return self.weight

    def start(self, batch: int) -> State:
        """Return the state at the beginning of a sentence."""
        return self.words.start(batch), torch.full((batch,), ROOT, device=self.keys.device)

    def scores(self, state: State) -> torch.Tensor:
        """Return the weighted score (n, symbols) of each symbol after each hypothesis."""
        _, node = state
        # A step out of the lexicon, then the steps within it, then the symbols that begin another word.
        left = torch.where(node == self.other, 0, self.bests[self.other] - self.bests[node])
        scores = left[:, None].repeat(1, self.symbols)
        first = self.first[node]
        counts = self.first[node + 1] - first
        total = int(counts.sum())
        row = torch.repeat_interleave(torch.arange(len(node), device=node.device), counts, output_size=total)
        step = (first - (counts.cumsum(0) - counts))[row] + torch.arange(total, device=node.device)
        symbol = self.keys[step] - node[row] * self.symbols
        scores[row, symbol] = self.bests[self.children[step]] - self.bests[node[row]]
        scores.masked_fill_(self.silent, 0)
        done, _ = self._complete(state)
        begun = done[:, None] + self.bests[self.begins.clamp(min=0)]
        return torch.where(self.begins >= 0, begun, scores) * self.weight

    def advance(self, state: State, symbols: torch.Tensor) -> State:
        """Return the state after one more symbol (n,) of each hypothesis."""
        context, node = state
        begun = self.begins[symbols]
        _, after = self._complete(state)
        wanted = node * self.symbols + symbols
        if len(self.keys):
            step = torch.searchsorted(self.keys, wanted).clamp_(max=len(self.keys) - 1)
            child = torch.where(self.keys[step] == wanted, self.children[step], self.other)
        else:
            child = torch.full_like(node, self.other)
        child = torch.where(self.silent[symbols], node, child)
        return torch.where(begun >= 0, after, context), torch.where(begun >= 0, begun, child)

    def finish(self, state: State) -> torch.Tensor:
        """Return the weighted score (n,) of the end of a word and of the sentence."""
        done, after = self._complete(state)
        return done * self.weight + self.words.finish(after) * self.weight

    def _complete(self, state: State) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability of the present word less that given so far (n,), and the context after it."""
        context, node = state
        log_prob, after = self.words.follow(context, self.numbers[node])
        empty = node == ROOT
        return torch.where(empty, 0, log_prob - self.bests[node]), torch.where(empty, context, after)


def word_ngram(arpa: Arpa, tokenizer: Tokenizer, weight: float, device: str | torch.device) -> WordNGram:
    """Return the scorer of an ARPA file over words. Raises ValueError if symbols hold the ends of words and more."""
    words: Sequence[str] = [word for word in arpa.words if word not in RESERVED]
    tables = build_tables(arpa, words)
    unknown = tables.unigrams[tables.symbols + _UNKNOWN]
    scores = np.append(tables.unigrams[: tables.symbols], unknown)
    return WordNGram.of_lexicon(tables, build_lexicon(words, scores, tokenizer), weight, device)
