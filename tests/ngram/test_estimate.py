"""A language model over symbols holds all of them; one over words holds those of the text."""

import pytest

from rnnt.ngram.arpa import read_arpa
from rnnt.ngram.estimate import estimate_language_model
from rnnt.ngram.sentences import Sentences
from rnnt.tokenizer import Symbols

LETTERS = Symbols("characters", [" ", *"abcdefghijklmnopqrstuvwxyz"])
TEXT = "a rose is a rose\nRed roses\n\na <unk> tag\n"


@pytest.fixture()
def sentences(tmp_path):
    def make(text=TEXT, tokenizer=LETTERS):
        (tmp_path / "text.txt").write_text(text)
        return Sentences([tmp_path / "text.txt"], tokenizer)

    return make


def test_symbols(tmp_path, sentences, plain_arpa):
    out = tmp_path / "lm.arpa"
    counts = estimate_language_model(sentences(), out, 3)
    arpa = read_arpa(out)
    assert arpa.words == ["<unk>", "<s>", "</s>", "<space>", *"abcdefghijklmnopqrstuvwxyz"]
    assert counts == [len(grams) for grams in arpa.ngrams] and counts[0] == 30
    plain = plain_arpa(out)
    for context in ((), ("a",), ("r", "o"), ("q", "q")):
        total = sum(10 ** plain.log10(context, word) for word in arpa.words if word != "<s>")
        assert total == pytest.approx(1, abs=1e-5)


def test_words(tmp_path, sentences):
    out = tmp_path / "lm.arpa"
    counts = estimate_language_model(sentences(), out, 2, of_words=True)
    arpa = read_arpa(out)
    assert arpa.words == ["<unk>", "<s>", "</s>", "a", "rose", "is", "red", "roses"]
    assert {tuple(arpa.words[i] for i in row) for row in arpa.ngrams[1].tolist()} == {
        ("<s>", "a"), ("a", "rose"), ("rose", "is"), ("is", "a"), ("rose", "</s>"),
        ("<s>", "red"), ("red", "roses"), ("roses", "</s>"),
    }  # fmt: skip
    assert counts == [8, 8]


def test_words_that_are_special_count_as_unknown(tmp_path, sentences):
    tokenizer = Symbols("characters", [" ", *"<>/unksa"])
    estimate_language_model(sentences("a <unk> a\n", tokenizer), tmp_path / "lm.arpa", 2, of_words=True)
    arpa = read_arpa(tmp_path / "lm.arpa")
    assert arpa.words == ["<unk>", "<s>", "</s>", "a"]
    assert [0, 3] in arpa.ngrams[1].tolist()


def test_pruning(tmp_path, sentences):
    full = estimate_language_model(sentences(), tmp_path / "a.arpa", 3)
    pruned = estimate_language_model(sentences(), tmp_path / "b.arpa", 3, [0, 0, 1])
    assert pruned[:2] == full[:2] and 0 < pruned[2] < full[2]
    assert estimate_language_model(sentences(), tmp_path / "c.arpa", 3, [0, 0, 99]) == full[:2]


@pytest.mark.parametrize(
    "text,message",
    [("", "the text is empty"), ("7\n8\n", r"can encode none of the 2 lines \(first .*text.txt:1: unknown .* '7'\)")],
)
@pytest.mark.parametrize("of_words", [False, True])
def test_texts_without_sentences(tmp_path, sentences, text, message, of_words):
    with pytest.raises(ValueError, match=message):
        estimate_language_model(sentences(text), tmp_path / "lm.arpa", 3, of_words=of_words)
    assert not (tmp_path / "lm.arpa").exists()


def test_words_of_a_tokenizer_of_words(tmp_path, sentences):
    with pytest.raises(ValueError, match="the symbols of this model are words already; leave --words out"):
        estimate_language_model(sentences("a", Symbols("words", ["a"])), tmp_path / "lm.arpa", 3, of_words=True)
