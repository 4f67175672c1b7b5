"""The spellings of a language model's words, as a tree whose steps are a tokenizer's symbols."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnt.ngram.tables import RESERVED
from rnnt.text import visible
from rnnt.tokenizer import SPACE_PIECE, Tokenizer

_LONGEST_WORD = 100  # characters; longer ones are taken for damage, and are not spelled
ROOT = 0  # the node of no letters


@dataclass(frozen=True)
class Lexicon:
    """The beginnings of words as nodes of a tree: node ROOT is empty, the last node stands for all others.

    A symbol either begins a word, after a space, or continues one. nodes: number of nodes. words: for each node the
    number of the word that it spells, -1 if it spells none. begins: for each symbol, the node of its letters if it
    begins a word, otherwise -1. silent: whether a symbol has no text. keys: of the steps that continue a word within
    the tree, node x symbols + symbol, ascending; `children` are the nodes to which they lead. first: the steps from
    node i are first[i] up to first[i + 1]. bests: for each node the highest of the scores of the words below it.
    """

    nodes: int
    words: np.ndarray
    begins: np.ndarray
    silent: np.ndarray
    keys: np.ndarray
    children: np.ndarray
    first: np.ndarray
    bests: np.ndarray

    @property
    def other(self) -> int:
        """The node of letters that begin no word."""
        return self.nodes - 1


def spelled_words(words: Sequence[str], tokenizer: Tokenizer) -> np.ndarray:
    """Return for each word whether the tokenizer's symbols can spell it."""
    letters = set().union(*_texts(tokenizer)) - {" "}
    return np.array([0 < len(word) <= _LONGEST_WORD and letters.issuperset(word) for word in words], bool)


def build_lexicon(words: Sequence[str], scores: np.ndarray, tokenizer: Tokenizer) -> Lexicon:
    """Return the tree of those words that the tokenizer can spell. scores: of the words, and last of all other words.

    Raises ValueError if a symbol of the tokenizer holds the end of a word and more.
    """
    texts = _texts(tokenizer)
    for text in texts:
        if " " in text[1:]:
            raise ValueError(
                f"the model's symbol {visible(text)!r} holds the end of a word and more, so words cannot be scored; "
                "use a language model of symbols"
            )
    numbers = np.flatnonzero(spelled_words(words, tokenizer))
    numbers = numbers[np.argsort(np.array([words[i] for i in numbers], object), kind="stable")]
    letters = {letter: i for i, letter in enumerate(sorted({x for i in numbers for x in words[i]}))}
    spelled = [words[i] for i in numbers]
    lengths = np.array([len(word) for word in spelled], np.int64)
    codes = np.full((len(spelled), lengths.max(initial=0)), -1, np.int64)
    codes[np.arange(codes.shape[1]) < lengths[:, None]] = [letters[x] for word in spelled for x in word]

    # Words are sorted, so words with the same beginning are next to each other: a node for each of these runs.
    node = np.zeros(len(spelled), np.int64)
    differs = np.zeros(len(spelled), bool)
    keys, parents, incoming = [], [np.zeros(1, np.int64)], [np.full(1, -1)]
    nodes = 1
    paths = []
    for level in range(codes.shape[1]):
        differs[1:] |= codes[1:, level] != codes[:-1, level]
        differs[:1] = True
        there = lengths > level
        new = there & differs
        parents.append(node[new])
        incoming.append(codes[new, level])
        keys.append(node[new] * len(letters) + codes[new, level])
        node = np.where(there, nodes - 1 + np.cumsum(new), node)
        nodes += int(new.sum())
        paths.append((node[there], np.flatnonzero(there)))
    word_of = np.full(nodes + 1, -1)
    word_of[node] = numbers
    bests = np.full(nodes + 1, -np.inf, np.float32)
    for found, rows in paths:
        np.maximum.at(bests, found, scores[numbers[rows]].astype(np.float32))
    bests[ROOT], bests[nodes] = 0, scores[-1]
    tree = _Tree(
        np.concatenate([*keys, np.zeros(0, np.int64)]), np.concatenate(parents), np.concatenate(incoming), letters
    )
    begins = np.array([tree.walk(text[1:], nodes) if text[:1] == " " else -1 for text in texts], np.int64)
    silent = np.array([not text for text in texts], bool)
    edges, children = tree.steps(texts)
    first = np.searchsorted(edges, np.arange(nodes + 2) * len(texts))
    return Lexicon(nodes + 1, word_of, begins, silent, edges, children, first, bests)


def _texts(tokenizer: Tokenizer) -> list[str]:
    """Return the text of each symbol, with a space where a word begins."""
    if tokenizer.kind == "characters":
        return tokenizer.symbols
    return ["" if symbol in RESERVED else symbol.replace(SPACE_PIECE, " ") for symbol in tokenizer.symbols]


class _Tree:
    """The tree of letters. keys: parent x letters + letter of nodes 1, 2, ...; they ascend."""

    def __init__(self, keys: np.ndarray, parents: np.ndarray, incoming: np.ndarray, letters: dict[str, int]):
        self.keys, self.parents, self.incoming, self.letters = keys, parents, incoming, letters
        self.by_letter = np.argsort(incoming, kind="stable")
        self.bounds = np.searchsorted(incoming[self.by_letter], np.arange(len(letters) + 1))

    def children(self, nodes: np.ndarray, letter: str) -> np.ndarray:
        """Return the child of each node by a letter, -1 where there is none."""
        wanted = nodes * len(self.letters) + self.letters[letter]
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, place + 1, -1)

    def walk(self, text: str, other: int) -> int:
        """Return the node of a text, `other` if there is none."""
        node = np.zeros(1, np.int64)
        for letter in text:
            if letter not in self.letters or (node := self.children(node, letter))[0] < 0:
                return other
        return int(node[0])

    def steps(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return all steps by symbols without a space: their keys, ascending, and the nodes to which they lead."""
        symbols_tree: dict = {}
        for symbol, text in enumerate(texts):
            if text and text[0] != " " and all(x in self.letters for x in text):
                place = symbols_tree
                for letter in text:
                    place = place.setdefault(letter, {})
                place.setdefault("", []).append(symbol)
        keys, children = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        waiting = []
        for letter, below in symbols_tree.items():
            code = self.letters[letter]
            nodes = self.by_letter[self.bounds[code] : self.bounds[code + 1]]
            waiting.append((below, self.parents[nodes], nodes))
        while waiting:
            place, origins, nodes = waiting.pop()
            for symbol in place.get("", ()):
                keys.append(origins * len(texts) + symbol)
                children.append(nodes)
            for letter, below in place.items():
                if letter:
                    found = self.children(nodes, letter)
                    if (kept := found >= 0).any():
                        waiting.append((below, origins[kept], found[kept]))
        key, child = np.concatenate(keys), np.concatenate(children)
        order = np.argsort(key, kind="stable")
        return key[order], child[order]
