"""A language model's file is opened as what it is: over symbols, over words, or foreign."""

import pytest

from rnnt.decoding.language_model import load_language_model
from rnnt.decoding.ngram import NGram
from rnnt.decoding.word_ngram import WordNGram
from rnnt.ngram.estimate import estimate_language_model
from rnnt.ngram.sentences import Sentences
from rnnt.tokenizer import Symbols

LETTERS = Symbols("characters", [" ", *"abcdefghijklmnopqrstuvwxyz"])
CAPITALS = Symbols("characters", [" ", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"])
WORDS = Symbols("words", ["the", "cat", "sat"])


@pytest.fixture()
def write(tmp_path):
    (tmp_path / "text.txt").write_text("the cat\nthe cat sat\nsat the cat\n")

    def write(tokenizer, of_words=False):
        sentences = Sentences([tmp_path / "text.txt"], tokenizer)
        estimate_language_model(sentences, tmp_path / "lm.arpa.gz", 2, of_words=of_words)
        return tmp_path / "lm.arpa.gz"

    return write


def test_symbols_and_words(write):
    assert isinstance(load_language_model(write(LETTERS), LETTERS), NGram)
    assert isinstance(load_language_model(write(WORDS), WORDS), NGram)
    assert isinstance(load_language_model(write(LETTERS, of_words=True), LETTERS), WordNGram)
    assert isinstance(load_language_model(str(write(LETTERS, of_words=True)), WORDS, 0.3), NGram)


@pytest.mark.parametrize("of_words", [False, True])
def test_foreign_files(write, of_words):
    path = write(LETTERS, of_words=of_words)
    for other in (CAPITALS, Symbols("words", ["one", "two"])):
        with pytest.raises(ValueError, match=r"lm\.arpa\.gz: \d+ of its \d+ words are no symbols of the model"):
            load_language_model(path, other)


@pytest.mark.parametrize("of_words", [False, True])
def test_the_weight_is_a_number(write, of_words):
    with pytest.raises(ValueError, match="the weight of the language model is nan"):
        load_language_model(write(LETTERS, of_words=of_words), LETTERS, float("nan"))
