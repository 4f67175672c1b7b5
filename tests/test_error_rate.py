"""Error counts against a textbook edit distance, intervals against a simulation."""

import itertools
import random
import re

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnt.error_rate import (
    ErrorRate,
    Pair,
    align_words,
    by_speaker,
    character_error_rate,
    count_errors,
    oracle_pairs,
    rate_difference,
    score_pairs,
    word_error_rate,
)
from rnnt.measure import ENTRY, PHONE, SENTENCE, WORD


def distance(a, b):
    """Levenshtein's distance by the textbook table."""
    table = [[max(i, j) if not (i and j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
    return table[-1][-1]


def pairs_of(*texts):
    return [Pair(str(i), reference, hypothesis) for i, (reference, hypothesis) in enumerate(texts)]


texts = st.lists(st.sampled_from(["a", "b", "cc", "é", "ab"]), max_size=7).map(" ".join)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_counts_equal_the_textbook_distance(given_texts):
    pairs = pairs_of(*given_texts)
    for rate, split in ((word_error_rate(pairs, resamples=5), str.split), (character_error_rate(pairs, 5), list)):
        assert rate.errors == sum(distance(split(r), split(h)) for r, h in given_texts)
        assert rate.errors == rate.substitutions + rate.deletions + rate.insertions
        assert rate.reference_length == sum(len(split(r)) for r, _ in given_texts)
        recognised = sum(len(split(h)) for _, h in given_texts)
        assert recognised - rate.reference_length == rate.insertions - rate.deletions
        assert 0 <= rate.low <= rate.high


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_alignments_read_back_as_the_texts_and_have_the_least_errors(given_texts):
    alignments = align_words(pairs_of(*given_texts))
    assert len(alignments) == len(given_texts)
    for (reference, hypothesis), columns in zip(given_texts, alignments):
        assert " ".join(said for said, _ in columns if said) == reference
        assert " ".join(heard for _, heard in columns if heard) == hypothesis
        assert sum(a != b for a, b in columns) == distance(reference.split(), hypothesis.split())
        assert ("", "") not in columns


def test_a_known_case():
    rate = word_error_rate(pairs_of(("the cat sat on the mat", "the bat sat the mat today now"), ("yes", "yes")))
    assert (rate.substitutions, rate.deletions, rate.insertions, rate.reference_length) == (1, 1, 2, 7)
    assert rate.rate == pytest.approx(4 / 7)
    rate = character_error_rate(pairs_of(("a b", "ab")))
    assert (rate.errors, rate.deletions, rate.reference_length) == (1, 1, 3)  # the space counts


def test_only_white_space_is_forgiven():
    assert word_error_rate(pairs_of(("  a\tb\u00a0c\n", "a b  c"))).errors == 0
    assert character_error_rate(pairs_of(("  a\tb\n", "a b"))).errors == 0
    assert word_error_rate(pairs_of(("a b", "A b,"))).errors == 2
    assert word_error_rate(pairs_of(("\u00e9", "e\u0301"))).errors == 1  # composed and decomposed


def test_empty_texts():
    rate = word_error_rate(pairs_of(("", ""), ("a b", ""), ("", "c"), (" ", "\n")))
    assert (rate.substitutions, rate.deletions, rate.insertions, rate.reference_length) == (0, 2, 1, 2)
    silent = word_error_rate(pairs_of(("", "a b"), ("", "")))
    assert (silent.rate, silent.reference_length) == (2.0, 0)
    nothing = character_error_rate(pairs_of(("", "")))
    assert (nothing.rate, nothing.low, nothing.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no utterance to score"):
        word_error_rate([])


def test_in_words():
    rate = ErrorRate(WORD, 67, 54, 3, 10, 1155, 0.0555, 0.0605)
    assert str(rate) == "WER 5.80 % [5.55, 6.05], 54 substitutions, 3 deletions, 10 insertions, 1155 words"
    assert str(character_error_rate(pairs_of(("ab", "ab")))).startswith("CER 0.00 % [0.00, 0.00], 0 subst")


def test_symbols_and_sequences_in_words():
    pairs = pairs_of(("K AE T", "K AH T"), ("D AO G", "D AO G"), ("F IH SH", "F SH"), ("AH", "AH AH"))
    assert str(score_pairs(pairs, PHONE)).endswith("], 1 substitutions, 1 deletions, 1 insertions, 10 symbols")
    assert str(score_pairs(pairs, PHONE)).startswith("PER 30.00 % [")
    assert re.fullmatch(r"WER 75.00 % \[\d+.\d\d, 100.00\], 3 of 4 have a wrong symbol", str(score_pairs(pairs, ENTRY)))
    assert str(score_pairs(pairs, SENTENCE)).startswith("SER 75.00 % [")


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_symbols_are_counted_as_words_by_jiwer_and_sequences_by_equality(given_texts):
    pairs = pairs_of(*given_texts)
    symbols, sequences = score_pairs(pairs, PHONE, 5), score_pairs(pairs, ENTRY, 5)
    references, hypotheses = zip(*([text or "" for text in both] for both in given_texts))
    if any(references):
        assert symbols.rate == pytest.approx(jiwer.wer(list(references), list(hypotheses)))
    assert sequences.errors == sequences.substitutions == sum(a.split() != b.split() for a, b in given_texts)
    assert sequences.reference_length == len(pairs)
    assert 0 <= sequences.low <= sequences.high <= 1
    assert np.array_equal(count_errors(pairs, ENTRY)[0], count_errors(pairs, PHONE)[0] > 0)


def test_the_interval_of_sequences_is_that_of_a_share():
    """Against the normal approximation of a binomial share."""
    rng = np.random.default_rng(5)
    wrong = rng.random(2000) < 0.15
    rate = score_pairs([Pair(str(i), "a b", "a c" if x else "a b") for i, x in enumerate(wrong)], ENTRY)
    width = 1.96 * (wrong.mean() * (1 - wrong.mean()) / 2000) ** 0.5
    assert [rate.low, rate.high] == pytest.approx([wrong.mean() - width, wrong.mean() + width], abs=0.002)


def simulate(rng, utterances, probability):
    """Utterances of 1 to 20 words, each word lost with a probability that is the utterance's own."""
    pairs = []
    for i in range(utterances):
        words = rng.integers(1, 21)
        lost = rng.random(words) < rng.choice([0, 2 * probability])
        pairs.append(Pair(str(i), "a " * int(words), "a " * int(words - lost.sum())))
    return pairs


def test_bootstrap_covers_the_true_rate_and_is_not_too_wide():
    rng = np.random.default_rng(0)
    rates = [word_error_rate(simulate(rng, 200, 0.1), resamples=300) for _ in range(200)]
    assert 0.90 <= np.mean([rate.low <= 0.1 <= rate.high for rate in rates]) <= 0.99
    spread = np.std([rate.rate for rate in rates])
    assert np.mean([rate.high - rate.low for rate in rates]) == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_bootstrap_is_the_same_for_the_same_seed():
    pairs = simulate(np.random.default_rng(1), 100, 0.1)
    first = word_error_rate(pairs)
    assert first == word_error_rate(pairs) == word_error_rate(pairs, seed=0)
    other = word_error_rate(pairs, seed=1)
    assert (other.low, other.high) != (first.low, first.high)
    assert other.low == pytest.approx(first.low, rel=0.1)
    assert first.low < first.rate < first.high


def test_bootstrap_in_blocks_equals_the_plain_one():
    """With this many utterances not all resamples are drawn at once."""
    rng = np.random.default_rng(2)
    lost = rng.random(10_000) < 0.2
    rate = word_error_rate([Pair("", "a b", "a" if gone else "a b") for gone in lost], resamples=1000, seed=3)
    plain_rng = np.random.default_rng(3)
    plain = [lost[plain_rng.integers(10_000, size=10_000)].mean() / 2 for _ in range(1000)]
    assert [rate.low, rate.high] == pytest.approx(np.percentile(plain, [2.5, 97.5]), rel=0.01)


def test_order_of_the_utterances_does_not_matter_to_the_counts():
    pairs = simulate(np.random.default_rng(4), 50, 0.1)
    shuffled = random.Random(0).sample(pairs, len(pairs))
    for score in (word_error_rate, character_error_rate):
        assert score(pairs).errors == score(shuffled).errors


def test_speakers_are_scored_apart():
    pairs = [
        Pair("1", "a b", "a b", speaker="x"), Pair("2", "a b c d", "a", speaker="y"), Pair("3", "a", "b", speaker="x"),
    ]  # fmt: skip
    rates = by_speaker(pairs)
    assert list(rates) == ["y", "x"]
    assert (rates["y"].errors, rates["y"].reference_length) == (3, 4)
    assert (rates["x"].errors, rates["x"].reference_length) == (1, 3)
    assert by_speaker([Pair("1", "a", "b")]) == {}
    assert list(by_speaker([Pair("1", "a", "b"), pairs[0]])) == ["", "x"]


def heard(errors, lengths, speakers=None):
    """Pairs with so many words deleted out of so many."""
    speakers = speakers or [""] * len(errors)
    return [
        Pair(str(i), "a " * n, "a " * (n - e), speaker=s) for i, (e, n, s) in enumerate(zip(errors, lengths, speakers))
    ]


def exact_interval(excess, lengths):
    """The 2.5 % and 97.5 % points of the difference over all resamples, each equally probable."""
    rates = []
    for chosen in itertools.product(range(len(excess)), repeat=len(excess)):
        rates.append(sum(excess[i] for i in chosen) / sum(lengths[i] for i in chosen))
    return np.quantile(rates, [0.025, 0.975], method="inverted_cdf")


def test_difference_of_rates_has_the_interval_of_all_resamples():
    first, second, lengths = [3, 0, 2, 5, 1], [1, 1, 2, 2, 1], [4, 3, 7, 6, 2]
    difference = rate_difference(heard(second, lengths), heard(first, lengths), resamples=50_000)
    assert difference.rate == pytest.approx(-4 / 22)
    exact = exact_interval([b - a for a, b in zip(first, second)], lengths)
    assert [difference.low, difference.high] == pytest.approx(exact, abs=0.005)
    assert (difference.blocks, difference.block) == (5, "utterance")
    back = rate_difference(heard(first, lengths), heard(second, lengths), resamples=50_000)
    assert [back.rate, back.low, back.high] == pytest.approx([-difference.rate, -difference.high, -difference.low])
    assert str(difference).startswith("-18.18 [-")


def test_difference_is_paired():
    """An utterance's difficulty cancels: one error fewer in each of them leaves no doubt."""
    lengths = [10] * 40
    first = [1 + i % 8 for i in range(40)]
    difference = rate_difference(heard([e - 1 for e in first], lengths), heard(first, lengths))
    assert (difference.rate, difference.low, difference.high) == pytest.approx((-0.1, -0.1, -0.1))
    same = rate_difference(heard(first, lengths), heard(first, lengths))
    assert (same.rate, same.low, same.high) == (0, 0, 0)


def test_difference_draws_whole_speakers_if_there_are_enough():
    """Speakers whose utterances are copies of each other count as one utterance each."""
    rng = np.random.default_rng(0)
    lengths, first, second = (rng.integers(*bounds, size=20).tolist() for bounds in ((5, 10), (0, 5), (0, 5)))
    once = rate_difference(heard(second, lengths), heard(first, lengths))
    names = [f"s{i // 3:02d}" for i in range(60)]
    many = [[x for x in values for _ in range(3)] for values in (second, first, lengths)]
    pairs, baseline = heard(many[0], many[2], names), heard(many[1], many[2], names)
    difference = rate_difference(pairs, baseline)
    assert (difference.blocks, difference.block) == (20, "speaker")
    assert [difference.rate, difference.low, difference.high] == pytest.approx([once.rate, once.low, once.high])
    for others in ([*names[:-3], "s00", "s00", "s00"], [*names[:-1], ""]):  # one too few, and one unknown
        few = rate_difference(heard(many[0], many[2], others), heard(many[1], many[2], others))
        assert (few.blocks, few.block) == (60, "utterance")
        assert few.high - few.low < difference.high - difference.low


def test_speakers_and_oracles_in_sequences():
    pairs = [
        Pair("1", "a b", "a b", speaker="x"), Pair("2", "a b c d", "a", speaker="y"), Pair("3", "a", "b", speaker="x"),
    ]  # fmt: skip
    assert {name: rate.rate for name, rate in by_speaker(pairs, ENTRY).items()} == {"y": 1.0, "x": 0.5}
    lists = [[Pair("1", "a b", text) for text in ("c d", "a", "a b")]]
    assert oracle_pairs(lists, ENTRY)[0].hypothesis == "a b"
    assert oracle_pairs([lists[0][:2]], ENTRY)[0].hypothesis == "c d"  # both are wrong


def test_difference_is_of_the_same_utterances():
    pairs = pairs_of(("a", "a"), ("b", "b"))
    for other in (pairs[:1], pairs[::-1], [pairs[0], Pair("2", "c", "b")]):
        with pytest.raises(ValueError, match="only hypotheses for the same utterances"):
            rate_difference(pairs, other)
    with pytest.raises(ValueError, match="there is no utterance"):
        rate_difference([], [])


def test_oracle_takes_the_fewest_errors_and_the_first_of_equals():
    lists = [
        [Pair("1", "the cat sat", hypothesis) for hypothesis in ("the bat sad", "a cat sat", "the cat sad", "cat")],
        [Pair("2", "", "uh"), Pair("2", "", "")],
        [Pair("3", "oh", "no")],
    ]
    best = oracle_pairs(lists)
    assert [pair.hypothesis for pair in best] == ["a cat sat", "", "no"]
    rate = word_error_rate(best)
    assert (rate.errors, rate.reference_length) == (2, 4)
    assert oracle_pairs([]) == []
