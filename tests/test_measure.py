"""Measures: texts in units, and the units that each setting names."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnt.config import ScoringConfig
from rnnt.measure import CHARACTER, ENTRY, PHONE, SENTENCE, WORD, WORDS, measure_of


def test_units():
    assert WORD.split(" the  cat\n") == ["the", "cat"] == PHONE.split("the cat")
    assert CHARACTER.split(" a  bc ") == ["a", " ", "b", "c"]
    assert ENTRY.split(" K  AE\tT ") == ["K AE T"] == SENTENCE.split("K AE T")
    assert [unit.split(" ") for unit in (WORD, CHARACTER, PHONE, ENTRY)] == [[], [], [], [""]]


def test_measures_of_settings():
    assert measure_of(ScoringConfig()) == WORDS
    found = {name: measure_of(ScoringConfig(measure=name)) for name in ("words", "symbols", "sequences")}
    labels = {name: (measure.first.label, measure.second.label) for name, measure in found.items()}
    assert labels == {"words": ("WER", "CER"), "symbols": ("PER", "SER"), "sequences": ("WER", "PER")}
    assert [measure.tokens.name for measure in found.values()] == ["word", "symbol", "symbol"]
    for measure in found.values():
        assert measure.tokens in (measure.first, measure.second)
        assert pickle.loads(pickle.dumps(measure)) == measure


def test_titles_have_the_label_that_the_name_does_not_tell():
    titles = [unit.title for unit in (WORD, CHARACTER, PHONE, ENTRY, SENTENCE)]
    assert titles == [
        "Word error rate", "Character error rate", "Symbol error rate (PER)", "Sequence error rate (WER)",
        "Sequence error rate",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["symbols", "sequences", "words"])
def test_folded_phones_count_as_one(name):
    measure = measure_of(ScoringConfig(measure=name, fold="timit-39"))
    assert measure.first.fold == measure.second.fold == measure.tokens.fold == "timit-39"
    assert measure.tokens.split("h# q ao l ix kcl k h#") == ["sil", "aa", "l", "ih", "sil", "k", "sil"]
    coarser = measure_of(ScoringConfig(measure=name, fold="timit-48")).tokens
    assert coarser.split("ao ix odd q") == ["ao", "ix", "odd"]


@given(st.lists(st.text(max_size=4), max_size=6))
def test_an_entry_is_equal_if_all_its_symbols_are(symbols):
    text = " ".join(symbols)
    assert ENTRY.split(text) == [" ".join(PHONE.split(text))]
    assert PHONE.split(ENTRY.split(text)[0]) == PHONE.split(text)
