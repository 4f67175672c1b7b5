"""Every symbol that can be in an ARPA file has a name there."""

import pytest

from rnnt.config import TokenizerConfig
from rnnt.ngram.vocabulary import SPACE, symbol_names
from rnnt.tokenizer import Symbols, train_tokenizer


def test_characters():
    assert symbol_names(Symbols("characters", [" ", "a", "ü", "<"])) == [SPACE, "a", "ü", "<"]


def test_words_that_cannot_be_in_a_file_have_no_name():
    words = ["one", "<unk>", "</s>", "<s>", "two words", "tab\tbed", "", "no\u00a0break"]
    assert symbol_names(Symbols("words", words)) == ["one", "", "", "", "", "", "", "no\u00a0break"]


def test_pieces():
    tokenizer = train_tokenizer(["so it is", "so is it"], TokenizerConfig("sentencepiece", 40))
    names = symbol_names(tokenizer)
    assert len(names) == len(tokenizer) == 40
    for token in tokenizer.encode("so it is"):
        assert names[token].replace("▁", " ").strip() == tokenizer.decode([token])
    assert names[0] == "" and names[-1] == ""  # <unk>, and the symbols that the text did not suffice for


@pytest.mark.parametrize("symbol", ["\r", "\x0b", "\x0c"])
def test_all_white_space_of_ascii_ends_a_word(symbol):
    assert symbol_names(Symbols("characters", [symbol])) == [""]
