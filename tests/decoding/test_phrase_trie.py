"""The trie of phrases against a search of the text itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnt.decoding.phrase_trie import START, build_trie
from rnnt.decoding.phrases import Spelling

SYMBOLS = [b"a", b"b", b"c", b" ", b"ab", b" a", b" ab", b"ca", b"bab", b"", b" b"]


def step(trie, node, symbol):
    """The node after a symbol, and the symbol's score, found edge by edge."""
    before, state = trie.partial[node], node
    award = trie.award[node] * trie.opens[symbol]
    while state > START:
        found = np.flatnonzero(trie.keys == state * len(trie.opens) + symbol)
        if len(found):
            return trie.targets[found[0]], trie.gains[found[0]] + award - before
        state = trie.fail[state]
    row = trie.at_boundary[node]
    return trie.base_next[row, symbol], trie.base_gain[row, symbol] + award - before


def total(trie, symbols):
    """The sum of all scores, the last one too."""
    node, score = START, 0.0
    for symbol in symbols:
        node, gain = step(trie, node, symbol)
        score += gain
    return score + trie.award[node] - trie.partial[node]


def occurrences(text, phrases):
    """(first place, end, bonus) of each phrase that the text holds as whole words."""
    text, found = b" " + text + b" ", []
    for phrase in phrases:
        places = [place for place in range(len(text)) if text.startswith(phrase.text, place)]
        bonus = phrase.bonus * len(phrase.text.replace(b" ", b""))
        found += [(place, place + len(phrase.text), bonus) for place in places]
    return found


def best_apart(found):
    """The highest sum of bonuses of occurrences that share no letters."""
    best = {}
    for place, end, bonus in sorted(found, key=lambda each: each[1]):
        before = max((value for at, value in best.items() if at <= place + 1), default=0.0)
        best[end] = max(best.get(end, 0.0), before + bonus)
    return max(best.values(), default=0.0)


words = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=3).map(" ".join)
phrase_lists = st.lists(
    st.builds(lambda text, bonus: Spelling(f" {text} ".encode(), bonus), words, st.sampled_from([0.5, 1.0, 3.0])),
    min_size=1, max_size=6, unique_by=lambda phrase: phrase.text,
)  # fmt: skip


@given(phrase_lists, st.text("abc ", max_size=25))
def test_the_total_is_the_bonus_of_the_phrases_in_the_text(phrases, text):
    text = text.encode()
    trie = build_trie(phrases, SYMBOLS)
    score = total(trie, [SYMBOLS.index(bytes([byte])) for byte in text])
    found = occurrences(text, phrases)
    least, most = best_apart(found), sum(bonus for _, _, bonus in found)
    assert least - 1e-9 <= score <= most + 1e-9
    if least == most:
        assert score == pytest.approx(least)


@given(phrase_lists, st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 10]), max_size=15))
def test_the_division_into_symbols_does_not_matter(phrases, symbols):
    trie = build_trie(phrases, SYMBOLS)
    text = b"".join(SYMBOLS[symbol] for symbol in symbols)
    letters = [SYMBOLS.index(bytes([byte])) for byte in text]
    assert total(trie, symbols) == pytest.approx(total(trie, letters))
    node = START
    for symbol in symbols:
        node, _ = step(trie, node, symbol)
    spelled = START
    for symbol in letters:
        spelled, _ = step(trie, spelled, symbol)
    assert node == spelled


def test_a_boundary_alone_has_no_bonus():
    trie = build_trie([Spelling(b" ab ", 1.0), Spelling(b" cab c ", 2.0)], SYMBOLS)
    space = SYMBOLS.index(b" ")
    assert trie.base_gain[:, space].tolist() == [0.0, 0.0]
    node = START
    for letter in b"cab":
        node, _ = step(trie, node, SYMBOLS.index(bytes([letter])))
    assert step(trie, node, space)[1] == 0.0
    assert total(trie, [SYMBOLS.index(b"ab")]) == 2.0 and total(trie, [SYMBOLS.index(b"bab")]) == 0.0


def test_a_shared_beginning_has_less_in_advance():
    one = build_trie([Spelling(b" abab ", 1.0)], SYMBOLS)
    many = build_trie([Spelling(f" ab{x} ".encode(), 1.0) for x in ("ab", "ca", "cc", "b")], SYMBOLS)
    first = [trie.base_gain[1, SYMBOLS.index(b"a")] for trie in (one, many)]
    assert first == [0.5, 0.125]


def test_phrases_of_scripts_without_spaces_may_be_anywhere():
    trie = build_trie([Spelling(b"ab", 1.0)], SYMBOLS)
    assert total(trie, [SYMBOLS.index(x) for x in (b"c", b"ab", b"ca")]) == 2.0
    assert total(trie, [SYMBOLS.index(x) for x in (b"b", b" a", b"c")]) == 0.0


def test_a_hundred_thousand_phrases():
    letters = np.random.default_rng(0).choice(np.frombuffer(b"abc", np.uint8), (100_000, 12))
    texts = {b" " + row.tobytes() + b" " for row in letters}
    phrases = [Spelling(text, 1.0) for text in sorted(texts)]
    trie = build_trie(phrases, SYMBOLS)
    for phrase in phrases[:: len(phrases) // 50]:
        letters = [SYMBOLS.index(bytes([byte])) for byte in phrase.text.strip()]
        assert total(trie, letters) == 12.0 and total(trie, letters[:-1]) == 0.0
