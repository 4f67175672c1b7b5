"""Several references: an input counts once, with the nearest, in whatever order and shares its utterances come."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnt.config import ScoringConfig
from rnnt.error_rate import Pair, oracle_pairs, rate_difference, score_pairs
from rnnt.measure import ENTRY, PHONE, measure_of
from rnnt.references import group_inputs, merge_pairs, nearest_references


def distance(a, b):
    """Levenshtein's distance, by trying all edits."""
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return distance(a[1:], b[1:])
    return 1 + min(distance(a[1:], b), distance(a, b[1:]), distance(a[1:], b[1:]))


def pair(name, word, reference, hypothesis, **more):
    return Pair(name, reference, hypothesis, input=tuple(word), **more)


READ = [
    pair("1", "read", "R IY D", "R EH D"),
    pair("2", "red", "R EH D", "R IY"),
    pair("3", "read", "R EH D", "R EH D"),
]


def test_an_input_counts_once_with_the_nearest_reference():
    merged = merge_pairs(READ, PHONE)
    assert [(x.id, x.reference, x.hypothesis) for x in merged] == [("1", "R EH D", "R EH D"), ("2", "R EH D", "R IY")]
    assert merged[0].references == ("R IY D", "R EH D") and merged[1].references == ()
    assert group_inputs(READ) == [[0, 2], [1]]
    words, phones = score_pairs(merged, ENTRY), score_pairs(merged, PHONE)
    assert (words.errors, words.reference_length) == (1, 2)
    assert (phones.errors, phones.deletions, phones.reference_length) == (2, 1, 6)


def test_ties_go_to_the_first_reference():
    both = [pair("1", "a", "X Y", "Z"), pair("2", "a", "Y", "Z"), pair("3", "a", "W", "Z")]
    assert merge_pairs(both, PHONE)[0].reference == "Y"
    assert merge_pairs(both[::-1], PHONE)[0].reference == "W"


def test_an_empty_hypothesis_is_nearest_to_the_shortest_reference():
    both = [pair("1", "a", "X Y Z", ""), pair("2", "a", "X Y", ""), pair("3", "a", "X", "")]
    assert merge_pairs(both, PHONE)[0].reference == "X"
    assert merge_pairs([*both, pair("4", "a", "", "")], PHONE)[0].reference == ""


def test_equal_references_and_audio_are_no_groups():
    twice = [pair("1", "a", "X", "Y"), pair("2", "a", "X", "Y")]
    assert merge_pairs(twice, PHONE) == [twice[0]]
    audio = [Pair("1", "x", "x"), Pair("2", "x", "x")]
    assert merge_pairs(audio, PHONE) == audio and merge_pairs([], PHONE) == []
    assert len(merge_pairs([pair("1", ["ab"], "x", "x"), pair("2", "ab", "x", "x")], PHONE)) == 2


def test_the_nearest_is_found_among_folded_phones():
    both = [pair("1", "a", "ih m", "ix m"), pair("2", "a", "ix n m", "ix m")]
    assert merge_pairs(both, measure_of(ScoringConfig(fold="timit-39")).tokens)[0].reference == "ih m"
    both = [pair("1", "a", "zh ih", "sh ix"), pair("2", "a", "s ix", "sh ix")]
    assert merge_pairs(both, measure_of(ScoringConfig()).tokens)[0].reference == "s ix"
    assert merge_pairs(both, measure_of(ScoringConfig(fold="timit-39")).tokens)[0].reference == "zh ih"


symbols = st.lists(st.sampled_from("xyz"), max_size=4).map(" ".join)
dictionaries = st.lists(st.tuples(st.sampled_from("abcd"), symbols), min_size=1, max_size=9)


def spoken(lines, seed):
    """Pairs of a dictionary's lines, with one hypothesis for each word."""
    rng = random.Random(seed)
    heard = {word: " ".join(rng.choices("xyz", k=rng.randrange(4))) for word in "abcd"}
    return [pair(str(i), word, reference, heard[word]) for i, (word, reference) in enumerate(lines)]


@given(dictionaries, st.integers(0, 99))
def test_counts_are_those_of_a_search_over_all_references(lines, seed):
    pairs = spoken(lines, seed)
    words = list(dict.fromkeys(word for word, _ in lines))
    heard = {p.input[0]: p.hypothesis.split() for p in pairs}
    fewest = [min(distance(text.split(), heard[word]) for w, text in lines if w == word) for word in words]
    merged = merge_pairs(pairs, PHONE)
    assert ["".join(p.input) for p in merged] == words
    assert score_pairs(merged, PHONE, 5).errors == sum(fewest)
    assert score_pairs(merged, ENTRY, 5).errors == np.count_nonzero(fewest)


@given(dictionaries, st.integers(0, 99), st.integers(0, 9), st.integers(0, 9))
def test_shares_that_are_merged_apart_and_then_together_give_the_same(lines, seed, one, other):
    pairs = spoken(lines, seed)
    first, second = sorted((one, other))
    shares = [merge_pairs(share, PHONE) for share in (pairs[:first], pairs[first:second], pairs[second:])]
    assert merge_pairs(list(itertools.chain(*shares)), PHONE) == merge_pairs(pairs, PHONE)


@given(dictionaries, st.integers(0, 99))
def test_the_order_of_the_utterances_does_not_matter_to_the_errors(lines, seed):
    pairs = spoken(lines, seed)
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    for unit in (PHONE, ENTRY):
        assert (
            score_pairs(merge_pairs(pairs, PHONE), unit, 5).errors
            == score_pairs(merge_pairs(shuffled, PHONE), unit, 5).errors
        )


def test_the_oracle_takes_the_nearest_reference_of_each_entry():
    merged = merge_pairs([pair("1", "a", "X Y", "X"), pair("2", "a", "V W", "X")], PHONE)[0]
    entries = [Pair("1", merged.reference, text, references=merged.references) for text in ("X", "V W", "X Y")]
    best = oracle_pairs([nearest_references(entries, PHONE)], ENTRY)
    assert [(p.reference, p.hypothesis) for p in best] == [("V W", "V W")]


def test_differences_of_decoders_that_are_near_to_different_references():
    """Against the difference of both rates, and its interval against a plain bootstrap over the inputs."""
    rng = random.Random(1)
    lines = [(f"w{i // 2}", " ".join(rng.choices("xyz", k=1 + i % 5))) for i in range(60)]

    def decoded(seed):
        rng = random.Random(seed)
        heard = {word: " ".join(rng.choices("xyz", k=rng.randrange(5))) for word, _ in lines}
        return merge_pairs([pair(str(i), [w], text, heard[w]) for i, (w, text) in enumerate(lines)], PHONE)

    one, other = decoded(2), decoded(3)
    assert [p.reference for p in one] != [p.reference for p in other]
    counts = [
        np.array([(distance(p.reference.split(), p.hypothesis.split()), len(p.reference.split())) for p in pairs])
        for pairs in (one, other)
    ]
    assert len(counts[0]) == 30

    def rate(chosen):
        sums = [count[chosen].sum(axis=0) for count in counts]
        return sums[0][0] / sums[0][1] - sums[1][0] / sums[1][1]

    difference = rate_difference(one, other, PHONE, resamples=4000)
    assert difference.rate == pytest.approx(rate(np.arange(30)))
    generator = np.random.default_rng(7)
    plain = np.percentile([rate(generator.integers(30, size=30)) for _ in range(4000)], [2.5, 97.5])
    assert [difference.low, difference.high] == pytest.approx(plain, abs=0.02)
    assert (difference.blocks, difference.block) == (30, "utterance")
    back = rate_difference(other, one, PHONE)
    assert back.rate == pytest.approx(-difference.rate)
    words = rate_difference(one, other, ENTRY)
    wrong = [(count[:, 0] > 0).mean() for count in counts]
    assert words.rate == pytest.approx(wrong[0] - wrong[1])
