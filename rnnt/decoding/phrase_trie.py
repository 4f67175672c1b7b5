"""A trie of phrases with failure links (Aho and Corasick 1975), and which symbols lead where in it.

N nodes, node 0 is the root; P phrases; S symbols; E edges.

The trie is over the bytes of a text, so it finds a phrase however that is divided into symbols. A node stands for the
longest end of a text that begins a phrase. Its `partial` is the bonus of a phrase that has begun there: it is given in
advance and taken back if the phrase does not go on. Its `banked` is the bonus of phrases that are complete in the
node's own text: it stays.

A beginning that many phrases share says little, and a phrase that is begun is rarely completed if it was not said. So
only a share of the bonus is given in advance, divided by the number of phrases that begin so, and the rest comes with
the last letter. On development data with 1,000 phrases that nobody says, this changed far fewer transcripts than the
whole bonus in advance did.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnt.decoding.phrases import Spelling, count_letters, is_letter, word_letters

START = 1  # the node at the beginning of a text, and after a boundary of words that is not in a phrase
_AHEAD = 0.5  # share of the bonus that is given in advance
_SPACE = 0x20
_LETTER = np.array([is_letter(byte) for byte in range(256)])


@dataclass(frozen=True)
class SymbolTrie:
    """What each symbol does at each node: for all nodes (`base_...`), with exceptions at some (edges).

    A node's exceptions count before those of the nodes that its failure links lead to.
    """

    fail: np.ndarray  # (N,), the node of the longest proper end that begins a phrase
    at_boundary: np.ndarray  # (N,), 1 if the node's text ends with a boundary of words, else 0
    partial: np.ndarray  # (N,)
    award: np.ndarray  # (N,), what a boundary of words adds to the bonus that is banked
    opens: np.ndarray  # (S,), 1.0 if a symbol begins with a boundary of words
    base_next: np.ndarray  # (2, S), the node after each symbol, by `at_boundary`
    base_gain: np.ndarray  # (2, S), what is banked on the way, and the partial bonus there
    first: np.ndarray  # (N + 1,), each node's first edge
    keys: np.ndarray  # (E,), node * S + symbol, sorted
    targets: np.ndarray  # (E,), the node after that symbol
    gains: np.ndarray  # (E,), as in `base_gain`


def build_trie(phrases: Sequence[Spelling], symbols: Sequence[bytes]) -> SymbolTrie:
    """Build the trie of phrases for a model's symbols, whose texts are given (none for a symbol without text)."""
    symbols = [word_letters(text) for text in symbols]
    # An empty phrase makes sure that there is a node for a boundary alone. It is the first of the root's children.
    phrases = [Spelling(b" ", 0.0), *phrases]
    trie = _Trie([phrase.text for phrase in phrases], np.array([phrase.bonus for phrase in phrases]))
    base_next, base_gain = zip(*(_walk(trie, node, symbols) for node in (0, START)))
    keys, targets, gains = _edges(trie, symbols)
    return SymbolTrie(
        trie.fail,
        (trie.byte == _SPACE).astype(int),
        trie.partial,
        trie.award,
        np.array([text.startswith(b" ") for text in symbols], float),
        np.stack(base_next),
        np.stack(base_gain),
        np.searchsorted(keys, np.arange(len(trie.parent) + 1) * len(symbols)),
        keys,
        targets,
        gains,
    )


class _Trie:
    """Nodes in the order of their depth. Those with one parent follow each other, in the order of their bytes."""

    def __init__(self, texts: Sequence[bytes], bonuses: np.ndarray):
        self.keys, self.levels, ends = _grow(texts)
        count = len(self.keys) + 1
        self.parent, self.byte = np.zeros(count, int), np.zeros(count, int)
        self.parent[1:], self.byte[1:] = np.divmod(self.keys, 256)
        letters, depth = np.zeros(count, int), np.zeros(count, int)
        for level in self.levels:
            letters[level] = letters[self.parent[level]] + _LETTER[self.byte[level]]
            depth[level] = depth[self.parent[level]] + 1
        self.banked = np.zeros(count)
        self.fail = np.zeros(count, int)
        for level in self.levels[1:]:
            self.fail[level], _ = self.follow(self.fail[self.parent[level]], self.byte[level])
        reward, rate = np.zeros(count), np.zeros(count)
        phrases = np.zeros(count, int)
        phrases[ends] = 1
        np.maximum.at(rate, ends, bonuses)
        np.maximum.at(reward, ends, bonuses * [count_letters(text) for text in texts])
        for level in reversed(self.levels):
            np.maximum.at(rate, self.parent[level], rate[level])
            np.add.at(phrases, self.parent[level], phrases[level])
        self._bank(reward, depth)
        _, self.award = self.follow(np.arange(count), np.full(count, _SPACE))
        ahead = _AHEAD * rate * letters / np.maximum(phrases, 1)
        self.partial = np.maximum(ahead - self.banked, self.award)

    def child(self, node: np.ndarray, byte: np.ndarray) -> np.ndarray:
        """Return the children of nodes, 0 for none."""
        wanted = node * 256 + byte
        place = np.searchsorted(self.keys, wanted)
        found = self.keys[np.minimum(place, len(self.keys) - 1)] == wanted
        return np.where(found, place + 1, 0)

    def follow(self, node: np.ndarray, byte: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nodes after one more byte of each text, and the bonus that is banked by it."""
        source, target = node.copy(), np.zeros_like(node)
        left = np.arange(len(node))
        while len(left):
            target[left] = self.child(source[left], byte[left])
            left = left[(target[left] == 0) & (source[left] > 0)]
            source[left] = self.fail[source[left]]
        return target, np.where(target > 0, self.banked[target] - self.banked[source], 0.0)

    def _bank(self, reward: np.ndarray, depth: np.ndarray) -> None:
        """Find the highest bonus of phrases in each node's text that do not overlap. They may share a boundary."""
        begins = np.zeros(len(reward), int)  # boundaries that a phrase shares with the one before it
        for level in self.levels:
            first = self.byte[level] == _SPACE if level is self.levels[0] else begins[self.parent[level]]
            begins[level] = first
        complete = reward > 0
        for level in self.levels[1:]:
            complete[level] |= complete[self.fail[level]]
        for level in self.levels:
            self.banked[level] = self.banked[self.parent[level]]
            nodes = level[complete[level]]
            phrases = nodes
            while len(nodes):
                before, steps = nodes.copy(), depth[phrases] - begins[phrases]
                for step in range(steps.max()):
                    before = np.where(step < steps, self.parent[before], before)
                total = np.where(reward[phrases] > 0, self.banked[before] + reward[phrases], 0.0)
                self.banked[nodes] = np.maximum(self.banked[nodes], total)
                phrases = self.fail[phrases]
                nodes, phrases = nodes[complete[phrases]], phrases[complete[phrases]]


def _grow(texts: Sequence[bytes]) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Return a trie: its keys (parent * 256 + byte of each node but the root), its nodes by depth, the texts' ends."""
    lengths = np.array([len(text) for text in texts], int)
    data = np.frombuffer(b"".join(texts), np.uint8).astype(int)
    offsets = np.cumsum(lengths) - lengths
    ends = np.zeros(len(texts), int)
    keys, levels, total = [], [], 1
    for depth in range(lengths.max(initial=0)):
        active = np.flatnonzero(lengths > depth)
        found, inverse = np.unique(ends[active] * 256 + data[offsets[active] + depth], return_inverse=True)
        ends[active] = total + inverse
        levels.append(np.arange(total, total + len(found)))
        keys.append(found)
        total += len(found)
    return np.concatenate(keys), levels, ends


def _walk(trie: _Trie, node: int, symbols: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the node after each symbol, and what is gained, from one node."""
    lengths = np.array([len(text) for text in symbols])
    nodes, gain = np.full(len(symbols), node), np.zeros(len(symbols))
    for place in range(lengths.max(initial=0)):
        active = np.flatnonzero(lengths > place)
        byte = np.array([symbols[symbol][place] for symbol in active])
        nodes[active], banked = trie.follow(nodes[active], byte)
        gain[active] += banked
    return nodes, gain + trie.partial[nodes]


def _edges(trie: _Trie, symbols: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the symbols whose whole text goes on in the trie from each node, except the root and `START`.

    All walks go on together, by one byte at a time, in the trie and in that of the symbols.
    """
    numbers = np.array([number for number, text in enumerate(symbols) if text], int)
    letters, _, ends = _grow([symbols[number] for number in numbers])
    order = np.argsort(ends, kind="stable")
    numbers, ends = numbers[order], ends[order]
    children = np.searchsorted(trie.parent[1:], np.arange(len(trie.parent) + 1)) + 1
    source = np.arange(START + 1, len(trie.parent))
    source = source[children[source] < children[source + 1]]
    target, piece = source, np.zeros_like(source)
    found = [(np.zeros(0, int),) * 3]
    while len(source):
        counts = children[target + 1] - children[target]
        row = np.repeat(np.arange(len(source)), counts)
        target = children[target][row] + np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
        wanted = piece[row] * 256 + trie.byte[target]
        place = np.minimum(np.searchsorted(letters, wanted), len(letters) - 1)
        goes_on = letters[place] == wanted
        source, target, piece = source[row[goes_on]], target[goes_on], place[goes_on] + 1
        begin, end = np.searchsorted(ends, piece), np.searchsorted(ends, piece, "right")
        row = np.repeat(np.arange(len(piece)), end - begin)
        which = begin[row] + np.arange(len(row)) - (np.cumsum(end - begin) - (end - begin))[row]
        found.append((source[row], numbers[which], target[row]))
    source, symbol, target = (np.concatenate(part) for part in zip(*found))
    opens = np.array([text.startswith(b" ") for text in symbols])[symbol]
    before = np.where(opens, trie.child(source, np.full(len(source), _SPACE)), source)
    gains = trie.banked[target] - trie.banked[before] + trie.partial[target]
    keys = source * len(symbols) + symbol
    order = np.argsort(keys)
    return keys[order], target[order], gains[order]
