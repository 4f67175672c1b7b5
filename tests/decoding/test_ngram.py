"""The n-gram scorer equals the plain recursion on dictionaries, and kenlm."""

import importlib.util
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnt.decoding.ngram import NGram
from rnnt.ngram.arpa import read_arpa
from rnnt.ngram.kneser_ney import estimate_arpa
from rnnt.ngram.tables import build_tables

NGRAM_TESTS = Path(__file__).parents[1] / "ngram"
oracles = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("ngram_oracles", NGRAM_TESTS / "conftest.py")
)
spec.loader.exec_module(oracles)

SYMBOLS = ["g", *"abcdef", "", "never"]


def estimate(folder, order, limits=()):
    text = oracles.random_sentences(200, seed=order)
    numbers = [[ord(word) - ord("a") + 3 for word in sentence] for sentence in text]
    estimate_arpa(numbers, ["<unk>", "<s>", "</s>", *"abcdefg"], order, folder / "a.arpa", limits)
    return oracles.PlainArpa(folder / "a.arpa"), read_arpa(folder / "a.arpa")


def histories(count, longest=12, seed=0):
    rng = random.Random(seed)
    return [[rng.randrange(len(SYMBOLS)) for _ in range(rng.randrange(longest + 1))] for _ in range(count)]


def state_after(scorer, symbols):
    state = scorer.start(1)
    for symbol in symbols:
        state = scorer.advance(state, torch.tensor([symbol]))
    return state


@pytest.mark.parametrize("order,limits", [(1, ()), (2, ()), (3, ()), (4, (0, 0, 2)), (6, ()), (6, (0, 1))])
def test_equals_the_recursion(tmp_path, order, limits):
    plain, arpa = estimate(tmp_path, order, limits)
    scorer = NGram.of_tables(build_tables(arpa, SYMBOLS), weight=0.5)
    assert scorer.blank_weight == 0.5
    for history in histories(60):
        state = state_after(scorer, history)
        words = [SYMBOLS[symbol] for symbol in history]
        expected = [0.5 * plain.log(words, name) for name in SYMBOLS]
        np.testing.assert_allclose(scorer.scores(state)[0], expected, atol=1e-4)
        assert float(scorer.finish(state)) == pytest.approx(0.5 * plain.log(words, "</s>"), abs=1e-4)


@pytest.mark.parametrize("lines", ["-1\t</s>\n-0.7\ta\t-0.5\n-0.9\tb\n", "-0.7\ta\t-0.5\n-0.9\tb\n"])
def test_files_without_special_words(tmp_path, lines):
    """A word that is not in the model has log10-probability -100; a hypothesis may end anywhere."""
    count = lines.count("\n")
    text = f"\\data\\\nngram 1={count}\nngram 2=1\n\n\\1-grams:\n{lines}\n\\2-grams:\n-0.1\ta b\n\n\\end\\\n"
    (tmp_path / "a.arpa").write_text(text)
    plain = oracles.PlainArpa(tmp_path / "a.arpa")
    scorer = NGram.of_tables(build_tables(read_arpa(tmp_path / "a.arpa"), ["a", "b", "c"]))
    for history in ([], [0], [0, 1], [1], [2], [0, 2], [2, 0]):
        state = state_after(scorer, history)
        words = ["abc"[symbol] for symbol in history]
        expected = [math.log(10) * plain.log10(tuple(words), name) for name in "abc"]
        np.testing.assert_allclose(scorer.scores(state)[0], expected, atol=1e-4)
        end = math.log(10) * plain.log10(tuple(words), "</s>") if "</s>" in lines else 0
        assert float(scorer.finish(state)) == pytest.approx(end, abs=1e-4)


def test_rows_do_not_depend_on_each_other(tmp_path):
    _, arpa = estimate(tmp_path, 4)
    scorer = NGram.of_tables(build_tables(arpa, SYMBOLS))
    given = histories(40)
    states = torch.cat([state_after(scorer, history) for history in given])
    scores, ends = scorer.scores(states), scorer.finish(states)
    symbols = torch.arange(len(given)) % len(SYMBOLS)
    after = scorer.advance(states, symbols)
    for i in range(len(given)):
        one = states[i : i + 1]
        assert torch.equal(scorer.scores(one)[0], scores[i])
        assert torch.equal(scorer.finish(one)[0], ends[i])
        assert torch.equal(scorer.advance(one, symbols[i : i + 1])[0], after[i])
    order = torch.randperm(len(given), generator=torch.Generator().manual_seed(0))
    assert torch.equal(scorer.scores(states[order]), scores[order])
    assert scorer.scores(states[:0]).shape == (0, len(SYMBOLS))


def test_a_state_does_not_change(tmp_path):
    _, arpa = estimate(tmp_path, 3)
    scorer = NGram.of_tables(build_tables(arpa, SYMBOLS))
    state = scorer.start(3)
    before = state.clone()
    scorer.scores(state)
    scorer.advance(state, torch.tensor([1, 2, 3]))
    assert torch.equal(state, before)


def test_equals_kenlm():
    """`scores.txt` was written by kenlm's query; the README.md there has the commands."""
    arpa = read_arpa(NGRAM_TESTS / "data" / "plain.arpa")
    symbols = [word for word in arpa.words if word[0] != "<"]
    scorer = NGram.of_tables(build_tables(arpa, [*symbols, "not in the text"]))
    for line in (NGRAM_TESTS / "data" / "scores.txt").read_text().splitlines():
        words, expected = line.split("\t")
        state, found = scorer.start(1), []
        for word in words.split():
            symbol = torch.tensor([symbols.index(word) if word in symbols else len(symbols)])
            found.append(float(scorer.scores(state)[0, symbol]))
            state = scorer.advance(state, symbol)
        found.append(float(scorer.finish(state)))
        np.testing.assert_allclose(np.array(found) / math.log(10), [*map(float, expected.split())], atol=1e-4)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_the_weight_is_a_number(tmp_path, weight):
    _, arpa = estimate(tmp_path, 1)
    with pytest.raises(ValueError, match="the weight of the language model is"):
        NGram.of_tables(build_tables(arpa, SYMBOLS), weight)
