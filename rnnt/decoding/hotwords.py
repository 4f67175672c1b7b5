"""Hot words: phrases that a search favours, as a scorer.

The trie is on the host, in numpy: most hypotheses are at a node without exceptions, and the rest takes a few small
operations, which numpy begins several times as fast as torch does.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from rnnt.decoding.phrase_trie import START, SymbolTrie, build_trie
from rnnt.decoding.phrases import parse_phrases, read_phrases, spell_phrases
from rnnt.tokenizer import Tokenizer


class HotWords:
    """A Scorer that adds a bonus for each symbol of a phrase, and takes it back if the phrase is not completed.

    A phrase begins and ends at a boundary of words. The boundaries themselves have no bonus: all phrases share them. A
    phrase is found however it is divided into symbols, unless it ends within one. A state is a tensor (B,): the node of
    the trie for each hypothesis.
    """

    blank_weight = 0.0

    def __init__(self, trie: SymbolTrie, device: str | torch.device = "cpu"):
        self._trie = trie
        self._device = device
        self._base_gain = trie.base_gain.astype(np.float32)
        self._edge_symbols = trie.keys % len(trie.opens)

    def start(self, batch: int) -> torch.Tensor:
        """Return the state (B,) at the beginning of an utterance."""
        return torch.full((batch,), START, device=self._device)

    def scores(self, state: torch.Tensor) -> torch.Tensor:
        """Return what each symbol adds (B, S), or takes back, after each hypothesis."""
        trie, nodes = self._trie, state.cpu().numpy()
        scores = self._base_gain[trie.at_boundary[nodes]]
        for row, node in zip(scores, nodes.tolist()):
            for each in reversed(self._chain(node)):
                edges = slice(trie.first[each], trie.first[each + 1])
                row[self._edge_symbols[edges]] = trie.gains[edges]
        if (award := trie.award[nodes]).any():
            scores += award[:, None] * trie.opens
        if (partial := trie.partial[nodes]).any():
            scores -= partial[:, None]
        return torch.from_numpy(scores).to(self._device)

    def advance(self, state: torch.Tensor, symbols: torch.Tensor) -> torch.Tensor:
        """Return the state after one more symbol (B,) of each hypothesis."""
        trie, nodes = self._trie, state.cpu().numpy()
        after = trie.base_next[trie.at_boundary[nodes], symbols.cpu().numpy()]
        for row, (node, symbol) in enumerate(zip(nodes.tolist(), symbols.tolist())):
            for each in self._chain(node):
                first, last = trie.first[each : each + 2]
                edge = first + np.searchsorted(self._edge_symbols[first:last], symbol)
                if edge < last and self._edge_symbols[edge] == symbol:
                    after[row] = trie.targets[edge]
                    break
        return torch.from_numpy(after).to(self._device)

    def finish(self, state: torch.Tensor) -> torch.Tensor:
        """Return what is banked or taken back (B,) when an utterance ends, which is a boundary of words."""
        trie, nodes = self._trie, state.cpu().numpy()
        return torch.from_numpy((trie.award[nodes] - trie.partial[nodes]).astype(np.float32)).to(self._device)

    def _chain(self, node: int) -> list[int]:
        """Return a node and those that its failure links lead to, up to `START`."""
        chain = []
        while node > START:
            chain.append(node)
            node = int(self._trie.fail[node])
        return chain


def hot_words(source: str | Path | Iterable[str], tokenizer: Tokenizer, device: str | torch.device = "cpu") -> HotWords:
    """Return the scorer of a file of phrases, or of a list of them.

    A phrase may have a weight after it, as in `new york :2.5`: the bonus for each symbol. Capital letters that the
    model lacks become small, with a warning. Raises ValueError that names phrases which its symbols cannot spell.

    >>> from rnnt.tokenizer import Symbols
    >>> scorer = hot_words(["cab :4"], Symbols("characters", list("abc ")))
    >>> state = scorer.start(1)
    >>> scorer.scores(state)
    tensor([[0.0000, 0.0000, 0.5000, 0.0000]])
    >>> scorer.scores(scorer.advance(state, torch.tensor([2])))
    tensor([[ 0.5000, -0.5000, -0.5000, -0.5000]])
    """
    phrases = read_phrases(source) if isinstance(source, (str, Path)) else parse_phrases(source)
    return HotWords(build_trie(spell_phrases(phrases, tokenizer), tokenizer.spellings), device)
