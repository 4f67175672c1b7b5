"""The grammar of spoken commands: every rule is used, and words are used evenly."""

import math
import re
from collections import Counter
from itertools import islice, pairwise

import numpy as np

from rnnt.corpora.grammar import RULES, START, deal, sentences, vocabulary


def parts(symbol: str) -> list[list[str]]:
    """Return the symbols in each different alternative of a symbol."""
    return [re.findall(r"<(.+?)>", text) for text in dict.fromkeys(RULES[symbol])]


def sentence_count(symbol: str) -> int:
    return sum(math.prod(map(sentence_count, symbols)) for symbols in parts(symbol))


def test_grammar_is_closed_and_large():
    reachable, waiting = set(), {START}
    while waiting:
        reachable |= waiting
        waiting = {part for symbol in waiting for symbols in parts(symbol) for part in symbols} - reachable
    assert reachable == set(RULES)
    assert sentence_count(START) > 1_000_000
    assert len(vocabulary()) == 254


def test_sentences_are_short_and_plain():
    drawn = list(islice(sentences(3), 4000))
    lengths = [len(text.split()) for text in drawn]
    assert min(lengths) >= 3 and max(lengths) <= 10
    assert all(re.fullmatch("[a-z]+( [a-z]+)*", text) for text in drawn)
    assert {word for text in drawn for word in text.split()} == vocabulary()
    assert len(set(drawn)) > 3400


def test_pack_is_dealt_evenly():
    pack = deal(("a", "b", "c"), np.random.default_rng(0))
    dealt = list(islice(pack, 300))
    assert Counter(dealt) == {"a": 100, "b": 100, "c": 100}
    assert all(one != other for one, other in pairwise(dealt))
    assert len({tuple(dealt[i : i + 3]) for i in range(0, 300, 3)}) == 6
