"""The lexicon is the tree of the words' letters, whatever symbols spell them."""

import numpy as np
import pytest

from rnnt.config import TokenizerConfig
from rnnt.ngram.lexicon import ROOT, build_lexicon, spelled_words
from rnnt.tokenizer import Symbols, train_tokenizer

WORDS = ["the", "there", "a", "cat", "at", "Cat", "x" * 101, "", "they"]
SCORES = -np.arange(1.0, len(WORDS) + 2)
CHARACTERS = Symbols("characters", [" ", *"abcdefghijklmnopqrstuvwxyz"])
PIECES = train_tokenizer(["the there a cat at they then that eat tea"] * 3, TokenizerConfig("sentencepiece", 30))


def letters(tokenizer):
    """The text of each symbol, with spaces."""
    return [symbol.replace("▁", " ") if symbol != "<unk>" else "" for symbol in tokenizer.symbols]


@pytest.mark.parametrize("tokenizer", [CHARACTERS, PIECES], ids=["characters", "pieces"])
def test_every_walk_spells_its_letters(tokenizer):
    texts = letters(tokenizer)
    lexicon = build_lexicon(WORDS, SCORES, tokenizer)
    good = [word for word, fine in zip(WORDS, spelled_words(WORDS, tokenizer)) if fine]
    assert good == ["the", "there", "a", "cat", "at", "they"]
    beginnings = {word[:i] for word in good for i in range(len(word) + 1)}
    spelling = {ROOT: ""}
    for symbol, node in enumerate(lexicon.begins.tolist()):
        assert (node >= 0) == texts[symbol].startswith(" ")
        if node >= 0 and node != lexicon.other:
            spelling.setdefault(node, texts[symbol][1:])
            assert spelling[node] == texts[symbol][1:]
        elif node == lexicon.other:
            assert texts[symbol][1:] not in beginnings
    assert (np.diff(lexicon.keys) > 0).all()
    for _ in range(6):
        for key, child in zip(lexicon.keys.tolist(), lexicon.children.tolist()):
            node, symbol = divmod(key, len(tokenizer))
            if node in spelling:
                text = spelling[node] + texts[symbol]
                assert spelling.setdefault(child, text) == text and text in beginnings
    assert len(set(spelling.values())) == len(spelling)
    for node, text in spelling.items():
        assert lexicon.words[node] == (WORDS.index(text) if text in good else -1)
        if node != ROOT:
            assert lexicon.bests[node] == max(SCORES[WORDS.index(word)] for word in good if word.startswith(text))
        steps = lexicon.keys[lexicon.first[node] : lexicon.first[node + 1]] - node * len(tokenizer)
        expected = [i for i, x in enumerate(texts) if x and x[0] != " " and text + x in beginnings]
        assert steps.tolist() == expected
    assert lexicon.bests[ROOT] == 0 and lexicon.bests[lexicon.other] == SCORES[-1]
    assert lexicon.first[lexicon.other] == lexicon.first[lexicon.other + 1] == len(lexicon.keys)
    if tokenizer is CHARACTERS:
        assert set(spelling.values()) == beginnings and lexicon.nodes == len(beginnings) + 1


def test_symbols_without_text_are_silent():
    lexicon = build_lexicon(WORDS, SCORES, PIECES)
    assert lexicon.silent.tolist() == [not text for text in letters(PIECES)]


def test_symbols_that_hold_the_end_of_a_word():
    with pytest.raises(ValueError, match="symbol 'a b' holds the end of a word"):
        build_lexicon(["a", "b"], SCORES[:3], Symbols("characters", [" ", "a", "b", "a b"]))


def test_no_word_that_can_be_spelled():
    lexicon = build_lexicon(["ü"], SCORES[:2], CHARACTERS)
    assert lexicon.nodes == 2 and not len(lexicon.keys)
