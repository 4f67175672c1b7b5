"""An n-gram language model as sorted arrays, for scoring all words after many contexts at once.

The n-grams are the nodes of a tree: the parent of an n-gram is its context, the n-gram without its last word. Node 0
is the empty context. Nodes are sorted by order, then by parent, then by last word, so the children of a node are next
to each other, and `keys`, parent x words + last word, ascends over all nodes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnt.ngram.arpa import Arpa
from rnnt.text import visible

UNKNOWN_LOG10 = -100.0  # of a word that is no unigram, in a model without <unk>
_UNKNOWN = ("<unk>", "<UNK>")
RESERVED = ("<s>", "</s>", *_UNKNOWN)
MOST_FOREIGN = 0.05  # largest share of a model's words that may be no symbols
_LN10 = math.log(10)


@dataclass(frozen=True)
class Tables:
    """An n-gram model. Words 0 .. symbols-1 are the caller's symbols; then </s>, <s> and <unk> follow.

    order: of the longest n-grams. symbols: number of symbols. known: whether the model has each symbol (symbols,); the
    others are scored as <unk>. unigrams: log-probability of each word (symbols + 3,). All logarithms are natural.
    has_end: whether </s> is in the model. start: the context at the beginning of a sentence.

    Node i + 1 has keys[i]; log_probs[i], given its context; and targets[i], the context after it, which is its longest
    suffix that is a context. Node i, if it may be a context, has backoffs[i], and fallbacks[i], its longest proper
    suffix that is a context. Its children are the nodes first[i] + 1 to first[i + 1].
    """

    order: int
    symbols: int
    known: np.ndarray
    unigrams: np.ndarray
    keys: np.ndarray
    log_probs: np.ndarray
    targets: np.ndarray
    backoffs: np.ndarray
    fallbacks: np.ndarray
    first: np.ndarray
    has_end: bool
    start: int

    @property
    def words(self) -> int:
        """Number of words: the symbols, </s>, <s> and <unk>."""
        return self.symbols + 3

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


def build_tables(arpa: Arpa, symbols: Sequence[str]) -> Tables:
    """Turn an ARPA file into tables over `symbols`, such as a tokenizer's. Symbols without a name get an empty string.

    N-grams with words that are no symbols are left out. Raises ValueError that names the file if many of its words are
    no symbols, or if an n-gram is there twice or lacks its context.
    """
    count = len(symbols)
    number = {name: i for i, name in enumerate(symbols) if name and name not in RESERVED}
    number |= {"</s>": count, "<s>": count + 1} | {name: count + 2 for name in _UNKNOWN}
    word_of = np.array([number.get(word, -1) for word in arpa.words] or [-1], np.int64)
    _check_vocabulary(arpa, symbols)
    words = count + 3
    unigrams = np.full(words, UNKNOWN_LOG10 * _LN10, np.float32)

    order = len(arpa.ngrams)
    keys: list[np.ndarray] = []
    log_probs, backoffs, suffixes, ends = [], [np.zeros(1)], [np.zeros(1, np.int64)], [0]
    for n in range(1, order + 1):
        grams = word_of[arpa.ngrams[n - 1]]
        rows = np.flatnonzero((grams >= 0).all(axis=1))
        grams = grams[rows]
        found = np.concatenate(keys) if keys else np.zeros(0, np.int64)
        parent = np.zeros(len(grams), np.int64)
        for place in range(n - 1):
            child = _find(found, parent * words + grams[:, place])
            if (child < 0).any():
                row = int(rows[np.argmax(child < 0)])
                raise arpa.complain(n, row, f"the context of this {n}-gram, {_gram(arpa, n, row, n - 1)}, is missing")
            parent = child
        key = parent * words + grams[:, n - 1]
        by_key = np.argsort(key, kind="stable")
        key, rows, parent, last = key[by_key], rows[by_key], parent[by_key], grams[by_key, n - 1]
        if (twice := np.flatnonzero(key[1:] == key[:-1])).size:
            row = int(rows[twice[0] + 1])
            raise arpa.complain(n, row, f"the {n}-gram {_gram(arpa, n, row, n)} is there twice")
        log_probs.append(arpa.log10_probs[n - 1][rows] * np.float32(_LN10))
        backoffs.append(arpa.log10_backoffs[n - 1][rows] * _LN10 if n < order else np.zeros(0))
        if n == 1:
            suffix = np.zeros(len(key), np.int64)
        else:
            suffix = _suffixes(found, np.concatenate(suffixes), parent, last, words)
        suffixes.append(suffix)
        keys.append(key)
        ends.append(ends[-1] + len(key))

    if np.isin(count + 2, word_of):
        unknown = int(_find(keys[0], np.array([count + 2]))[0])
        unigrams[:] = log_probs[0][unknown - 1]
    unigrams[keys[0]] = log_probs[0]
    known = np.zeros(count, bool)
    known[keys[0][keys[0] < count]] = True

    all_keys, backoff = np.concatenate(keys), np.concatenate(backoffs).astype(np.float32)
    contexts = len(backoff)  # nodes below the highest order
    first = np.searchsorted(all_keys, np.arange(contexts + 1) * words)
    is_context = (first[1:] > first[:-1]) | (backoff != 0)
    is_context[0] = True
    targets, fallbacks = np.zeros(ends[-1] + 1, np.int64), np.zeros(contexts, np.int64)
    for n in range(1, order + 1):
        nodes = np.arange(ends[n - 1] + 1, ends[n] + 1)
        shorter = targets[suffixes[n]]
        targets[nodes] = shorter
        if n < order:
            fallbacks[nodes] = shorter
            targets[nodes] = np.where(is_context[nodes], nodes, shorter)
    start = _find(all_keys, np.array([count + 1]))[0]
    return Tables(
        order,
        count,
        known,
        unigrams,
        all_keys,
        np.concatenate(log_probs),
        targets[1:].astype(np.int32),
        backoff,
        fallbacks.astype(np.int32),
        first.astype(np.int32),
        bool(np.isin(count, word_of)),
        int(targets[start]) if start > 0 else 0,
    )


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the nodes that have the `wanted` keys, -1 for keys that no node has."""
    if not len(keys):
        return np.full(len(wanted), -1)
    place = np.searchsorted(keys, wanted)
    return np.where(keys[np.minimum(place, len(keys) - 1)] == wanted, place + 1, -1)


def _suffixes(keys: np.ndarray, suffixes: np.ndarray, parent: np.ndarray, last: np.ndarray, words: int) -> np.ndarray:
    """Return for each n-gram (its context `parent` and `last` word) its longest proper suffix that is a node."""
    context = suffixes[parent]
    result = _find(keys, context * words + last)
    while (missing := np.flatnonzero(result < 0)).size:
        context[missing] = suffixes[context[missing]]  # node 0 has all words that occur
        result[missing] = _find(keys, context[missing] * words + last[missing])
    return result


def foreign_share(arpa: Arpa, symbols: Sequence[str]) -> float:
    """Return the share of an ARPA file's words that are none of the symbols; 1 if it has no words."""
    words = [word for word in arpa.words if word not in RESERVED]
    return len(set(words).difference(symbols)) / len(words) if words else 1.0


def _check_vocabulary(arpa: Arpa, symbols: Sequence[str]) -> None:
    if foreign_share(arpa, symbols) <= MOST_FOREIGN:
        return
    known = {*symbols, *RESERVED}
    words = [word for word in arpa.words if word not in RESERVED]
    foreign = [word for word in words if word not in known]
    shown = ", ".join(repr(visible(word)[:20]) for word in foreign[:3])
    raise ValueError(
        f"{arpa.path}: {len(foreign):,} of its {len(words):,} words are no symbols of the model"
        f"{f' ({shown})' if shown else ''}; make one for this model: rnnt lm TEXT --model MODEL --out LM.arpa"
    )


def _gram(arpa: Arpa, order: int, row: int, words: int) -> str:
    return repr(visible(" ".join(arpa.words[word] for word in arpa.ngrams[order - 1][row][:words]))[:100])
