"""Estimation equals the textbook's definition on dictionaries, and `lmplz` of kenlm."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from rnnt.ngram import counts, kneser_ney
from rnnt.ngram.arpa import read_arpa
from rnnt.ngram.kneser_ney import estimate_arpa

DATA = Path(__file__).parent / "data"
SPECIAL = ["<unk>", "<s>", "</s>"]


def number(sentences):
    words = sorted(set().union(*sentences))
    index = {word: i for i, word in enumerate(words, 3)}
    return [[index[word] for word in sentence] for sentence in sentences], [*SPECIAL, *words]


def grams(path):
    arpa = read_arpa(path)
    found = {}
    for rows, probs, backoffs in zip(arpa.ngrams, arpa.log10_probs, arpa.log10_backoffs):
        for row, prob, backoff in zip(rows.tolist(), probs.tolist(), backoffs.tolist()):
            found[tuple(arpa.words[i] for i in row)] = prob, backoff
    return found


@pytest.mark.parametrize(
    "order,limits,count",
    [
        (1, (), 40),
        (2, (), 40),
        (3, (), 300),
        (4, (), 12),
        (6, (), 200),
        (3, (0, 0, 1), 300),
        (4, (0, 1), 300),
        (3, (), 1),
    ],
)
def test_equals_the_definition(tmp_path, kneser_ney, sentences, order, limits, count):
    text = sentences(count, seed=order)
    numbers, names = number(text)
    found = estimate_arpa(numbers, names, order, tmp_path / "a.arpa", limits)
    probs, weights = kneser_ney(text, order, limits)
    arpa = grams(tmp_path / "a.arpa")
    assert found == [sum(len(gram) == n for gram in arpa) for n in range(1, len(found) + 1)]
    assert arpa.pop(("<s>",))[0] == -99
    assert arpa.keys() == probs.keys()
    for gram, (log10_prob, log10_backoff) in arpa.items():
        assert log10_prob == pytest.approx(math.log10(probs[gram]), abs=2e-6), gram
        assert log10_backoff == pytest.approx(math.log10(weights.get(gram, 1)), abs=2e-6), gram


@pytest.mark.parametrize("order,limits", [(1, ()), (2, ()), (3, ()), (5, ()), (3, (0, 0, 1)), (4, (0, 2))])
def test_probabilities_sum_to_one(tmp_path, plain_arpa, sentences, order, limits):
    numbers, names = number(sentences(100))
    estimate_arpa(numbers, [*names, "never"], order, tmp_path / "a.arpa", limits)
    plain = plain_arpa(tmp_path / "a.arpa")
    words = [name for name in [*names, "never"] if name != "<s>"]
    for length in range(3):
        for context in product([*names[3:], "<s>", "never"], repeat=length):
            assert sum(10 ** plain.log10(context, word) for word in words) == pytest.approx(1, abs=1e-5)


def test_blocks_and_chunks_change_nothing(tmp_path, sentences, monkeypatch):
    numbers, names = number(sentences(120))
    estimate_arpa(numbers, names, 4, tmp_path / "whole.arpa")
    monkeypatch.setattr(counts, "_CHUNK", 37)
    monkeypatch.setattr(counts, "_MERGED", 50)
    monkeypatch.setattr(kneser_ney, "_ROWS", 7)
    estimate_arpa(numbers, names, 4, tmp_path / "parts.arpa")
    whole, parts = ((tmp_path / name).read_text().split("\n") for name in ("whole.arpa", "parts.arpa"))
    assert sorted(whole) == sorted(parts)


def test_many_words_need_several_numbers_an_ngram(tmp_path, kneser_ney, sentences):
    text = sentences(50)
    numbers, names = number(text)
    moved = [[word + 100_000 for word in sentence] for sentence in numbers]
    estimate_arpa(moved, [*SPECIAL, *[""] * 100_000, *names[3:]], 5, tmp_path / "a.arpa")
    estimate_arpa(numbers, names, 5, tmp_path / "b.arpa")
    assert (tmp_path / "a.arpa").read_text() == (tmp_path / "b.arpa").read_text()


@pytest.mark.parametrize("name,order,limits", [("plain", 3, ()), ("pruned", 4, (0, 0, 1))])
def test_equals_kenlm(tmp_path, name, order, limits):
    """The files in `data` were written by kenlm's lmplz; their README.md has the commands."""
    text = [line.split() for line in (DATA / "text.txt").read_text().splitlines()]
    numbers, names = number(text)
    estimate_arpa(numbers, names, order, tmp_path / "ours.arpa", limits)
    ours, kenlm = grams(tmp_path / "ours.arpa"), grams(DATA / f"{name}.arpa")
    assert ours.keys() == kenlm.keys()
    assert ours.pop(("<s>",))[1] == pytest.approx(kenlm.pop(("<s>",))[1], abs=1e-5)
    np.testing.assert_allclose([ours[gram] for gram in kenlm], list(kenlm.values()), atol=1e-5)


def test_temporary_files_are_removed(tmp_path, sentences):
    numbers, names = number(sentences(9))

    def broken():
        yield from numbers
        raise OSError(28, "No space left on device")

    estimate_arpa(numbers, names, 3, tmp_path / "a.arpa")
    before = (tmp_path / "a.arpa").read_bytes()
    with pytest.raises(OSError, match="No space left"):
        estimate_arpa(broken(), names, 2, tmp_path / "a.arpa")
    assert [path.name for path in tmp_path.iterdir()] == ["a.arpa"]
    assert (tmp_path / "a.arpa").read_bytes() == before


@pytest.mark.parametrize(
    "order,limits,message",
    [
        (0, (), "order of the n-grams is 0"),
        (11, (), "choose 1 to 10"),
        (3, (1,), "begin with 0"),
        (3, (0, 2, 1), "ascending"),
    ],
)
def test_bad_settings(tmp_path, order, limits, message):
    with pytest.raises(ValueError, match=message):
        estimate_arpa([[3]], [*SPECIAL, "a"], order, tmp_path / "a.arpa", limits)


def test_an_empty_text(tmp_path):
    with pytest.raises(ValueError, match="the text is empty"):
        estimate_arpa([], [*SPECIAL, "a"], 3, tmp_path / "a.arpa")
    assert not list(tmp_path.iterdir())
