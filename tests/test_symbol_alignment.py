"""Which input symbols emit the symbols of a known output."""

import math

import pytest
import torch

from rnnt.symbol_alignment import EmittedSymbol, align_symbols


def test_a_trained_model_emits_each_capital_at_its_letter(speller):
    found = speller.align_symbols("bacab", "B A C A B")
    assert found.input == list("bacab") and found.text == "B A C A B" and found.tokens == [1, 0, 2, 0, 1]
    assert [(each.frame, each.input, each.symbol) for each in found.emitted] == list(zip(range(5), "bacab", "BACAB"))
    assert all(0.8 < each.probability <= 1 for each in found.emitted)


def test_its_probability_is_that_of_the_output(speller):
    (found,) = speller.transduce("cab", nbest=4)
    for each in found.candidates:
        assert math.exp(align_symbols(speller, "cab", each.text).log_prob) == pytest.approx(each.probability, rel=1e-4)


def test_an_unlikely_symbol_has_a_low_probability(speller):
    (wrong,), (right,) = (align_symbols(speller, "a", text).emitted for text in ("C", "A"))
    assert wrong.probability < 0.1 < 0.9 < right.probability


def test_frames_of_several_symbols(spell):
    lstm = {"hidden": 8, "pre_layers": 1, "post_layers": 1, "time_stack": 2, "bidirectional": True}
    recognizer = spell(
        model={"encoder": {"lstm": lstm}, "predictor": {"embedding": 8, "hidden": 8}, "joint": {"hidden": 16}}
    )
    for each in align_symbols(recognizer, "abcab", "A B C").emitted:
        assert each.input == ("ab", "ca", "b")[each.frame]


def test_symbols_are_those_of_the_normal_form(spell):
    found = align_symbols(spell(("a", "e", "\u0301")), "\u00e9a", "A")
    assert found.input == ["e", "\u0301", "a"] and isinstance(found.emitted[0], EmittedSymbol)
    tags = align_symbols(spell(("a", "<PL>")), ["a", "<PL>"], "A B")
    assert tags.input == ["a", "<PL>"] and {each.input for each in tags.emitted} <= {"a", "<PL>"}


def test_mistakes_are_explained(speller, recognizer, monkeypatch):
    for given, text, why in (
        ("ab", " ", "the output to align is empty"),
        ("ab", "A X", "the output cannot be aligned: unknown to the tokenizer: 'X'"),
        (" ", "A", "input 1 is empty"),
        ("a", "A " * 101, "the output cannot be aligned: .*more than 100 for each"),
        ("a" * 2000, "A " * 2000, "2000 input and 2000 output symbols are too many to align"),
    ):
        with pytest.raises(ValueError, match=why):
            speller.align_symbols(given, text)
    with pytest.raises(ValueError, match="this model reads audio"):
        recognizer.align_symbols("ab", "A")
    with pytest.raises(ValueError, match="this model reads symbols"):
        speller.align(torch.zeros(100), "A")
