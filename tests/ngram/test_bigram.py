"""The bigram model of a run's texts: its numbers, its bounded size, and what is refused."""

import numpy as np
import pytest

from rnnt.ngram.arpa import read_arpa
from rnnt.ngram.bigram import BIGRAM, estimate_bigram, read_bigram
from rnnt.ngram.estimate import estimate_language_model
from rnnt.ngram.sentences import Sentences
from rnnt.tokenizer import Symbols

LETTERS = Symbols("characters", [" ", *"abcdefgh"])


def test_it_is_the_model_that_the_command_makes_of_the_same_texts(tmp_path):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(" abcdefgh"), rng.integers(1, 9), p=rng.dirichlet(np.ones(9)))) for _ in range(80)]
    texts = [" ".join(text.split()) for text in texts]
    (tmp_path / "text.txt").write_text("\n".join(texts) + "\n")
    counts = estimate_bigram(lambda: iter(texts), LETTERS, tmp_path / BIGRAM)
    assert counts == estimate_language_model(Sentences([tmp_path / "text.txt"], LETTERS), tmp_path / "lm", 2)
    assert (tmp_path / BIGRAM).read_text() == (tmp_path / "lm").read_text()
    assert len(read_bigram(tmp_path).ngrams) == 2


def test_rare_bigrams_are_left_out_until_few_enough_are_left(tmp_path):
    texts = ["ab"] * 9 + ["cd"] * 3 + ["ef"] * 2 + ["gh"]
    assert estimate_bigram(lambda: texts, LETTERS, tmp_path / "whole") == [12, 12]
    for most, left in [(12, 12), (11, 9), (9, 9), (8, 3), (3, 3)]:
        counts = estimate_bigram(lambda: texts, LETTERS, tmp_path / "a", most)
        assert counts == [12, left]
    assert len(read_arpa(tmp_path / "a").ngrams[1]) == 3


def test_nothing_but_single_symbols_may_be_left(tmp_path):
    assert estimate_bigram(lambda: ["ab", "cd"], LETTERS, tmp_path / BIGRAM, most=0) == [12]
    assert len(read_bigram(tmp_path).ngrams) == 1


def test_texts_with_symbols_that_an_arpa_file_cannot_name_are_left_out(tmp_path):
    odd = Symbols("words", ["a", "<s>", "b"])
    counts = estimate_bigram(lambda: ["a b", "a <s> b"], odd, tmp_path / "a")
    assert counts == [5, 3]
    with pytest.raises(ValueError, match="the text is empty"):
        estimate_bigram(lambda: ["<s>", ""], odd, tmp_path / "b")


def test_files_that_are_no_bigram_models_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=rf"has no {BIGRAM} to subtract; make it from .*rnnt lm TRAINING_SPLIT --model"
    ):
        read_bigram(tmp_path)
    (tmp_path / "text.txt").write_text("ab\nba\n")
    estimate_language_model(Sentences([tmp_path / "text.txt"], LETTERS), tmp_path / BIGRAM, 3)
    with pytest.raises(ValueError, match="holds 3-grams; make it with rnnt lm --order 2"):
        read_bigram(tmp_path)
    with open(tmp_path / BIGRAM, "ab") as file:
        file.truncate(1 << 27)
    with pytest.raises(ValueError, match="has 134 MB; make a smaller one"):
        read_bigram(tmp_path)
