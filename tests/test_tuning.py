"""The choice of weights on n-best lists, against plain loops and against searches with other weights."""

import itertools
import random
from dataclasses import replace

import pytest
import torch

from rnnt.config import DecodingConfig, ScoringConfig
from rnnt.dataset import Dataset, write_split
from rnnt.decoding import beam
from rnnt.decoding.fusion import open_models, weigh
from rnnt.error_rate import Pair, word_error_rate
from rnnt.evaluation import Alternative
from rnnt.measure import measure_of
from rnnt.ngram.bigram import BIGRAM, estimate_bigram
from rnnt.ngram.estimate import estimate_language_model
from rnnt.ngram.sentences import Sentences
from rnnt.shard import StoredUtterance
from rnnt.tuning import LIST, score_lists, tune, tune_weights

SIGNS = {"lm": 1, "lodr": -1, "ilm": -1}


def entry(text, score, **scores):
    return Alternative(text, [], score, score, scores)


def random_lists(seed, names, count=12):
    rng = random.Random(seed)
    lists, pairs = [], []
    for row in range(count):
        texts = {" ".join(rng.choices("abc", k=rng.randrange(4))) for _ in range(6)}
        lists.append(
            [
                entry(text, rng.gauss(0, 3), **{name: rng.gauss(-5, 4) for name in names}, blank=rng.gauss(-2, 2))
                for text in sorted(texts)
            ]
        )
        pairs.append(Pair(str(row), " ".join(rng.choices("abc", k=3)), lists[-1][0].text))
    return lists, pairs


def plain_total(found, weights):
    signed = {name: SIGNS[name] * weight for name, weight in weights.items()}
    return (
        found.score
        + sum(signed.values()) * found.scores["blank"]
        + sum(weight * found.scores[name] for name, weight in signed.items())
    )


def plain_errors(lists, pairs, weights):
    chosen = [max(entries, key=lambda found: plain_total(found, weights)) for entries in lists]
    return word_error_rate([replace(pair, hypothesis=found.text) for pair, found in zip(pairs, chosen)]).errors


@pytest.mark.parametrize("names", [["lm"], ["lm", "lodr"], ["lm", "ilm"], ["lm", "lodr", "ilm"]])
@pytest.mark.parametrize("seed", range(3))
def test_no_weights_of_the_grid_make_fewer_errors_and_none_as_few_are_smaller(names, seed):
    lists, pairs = random_lists(seed, names)
    tuned = tune_weights(lists, pairs)
    tried = []
    steps = [step / 20 for step in range(21)]
    for values in itertools.product(steps, repeat=len(names)):
        weights = dict(zip(names, values))
        if sum(value > 0 for value in values[1:]) > 1 or any(value > values[0] for value in values[1:]):
            continue
        tried.append((plain_errors(lists, pairs, weights), round(sum(values), 6)))
    assert (tuned.errors, round(sum(tuned.weights.values()), 6)) == min(tried)
    assert list(tuned.weights) == names and plain_errors(lists, pairs, tuned.weights) == tuned.errors
    assert tuned.plain_errors == plain_errors(lists, pairs, {})
    assert tuned.units == 36 and tuned.fewest <= tuned.errors <= tuned.plain_errors
    assert tune_weights(lists, pairs) == tuned


def test_weights_that_change_nothing_stay_zero():
    lists = [[entry("a", 0.0, lm=-1.0, lodr=0.0, blank=0.0), entry("b", -9.0, lm=-1.0, lodr=0.0, blank=0.0)], []]
    lists[1] = [entry("a", 0.0, lm=-5.0, lodr=0.0, blank=0.0)]
    tuned = tune_weights(lists, [Pair("1", "a", ""), Pair("2", "b", "")])
    assert tuned.weights == {"lm": 0.0, "lodr": 0.0} and (tuned.errors, tuned.fewest, tuned.units) == (1, 1, 2)


def test_sequences_and_several_references_count_by_the_measure():
    """Three lists: only the second symbol of one is wrong, two words are right if the language model counts."""
    pairs = [Pair("1", "x y", "", references=("x y", "z z")), Pair("2", "x", ""), Pair("3", "x y z", "")]
    lists = [
        [entry("a b", 0.0, lm=-9.0, blank=0.0), entry("z z", -1.0, lm=0.0, blank=0.0)],
        [entry("a", 0.0, lm=-9.0, blank=0.0), entry("x", -1.0, lm=0.0, blank=0.0)],
        [entry("x y a", 0.0, lm=-9.0, blank=0.0), entry("a", -1.0, lm=0.0, blank=0.0)],
    ]
    sequences = tune_weights(lists, pairs, measure_of(ScoringConfig(measure="sequences")))
    assert (sequences.plain_errors, sequences.errors, sequences.fewest, sequences.units) == (3, 1, 1, 3)
    symbols = tune_weights(lists, pairs, measure_of(ScoringConfig(measure="symbols")))
    assert (symbols.plain_errors, symbols.errors, symbols.fewest, symbols.units) == (2 + 1 + 1, 3, 1, 6)


def test_the_smallest_sufficient_weight_is_chosen():
    lists = [[entry("a", 0.0, lm=-10.0, blank=0.0), entry("b", -3.1, lm=0.0, blank=0.0)]]
    assert tune_weights(lists, [Pair("1", "b", "")]).weights == {"lm": 0.35}
    assert tune_weights([[entry("", 0.0, lm=0.0, blank=0.0)]], [Pair("1", "", "")]).units == 0
    with pytest.raises(ValueError, match="no utterance could be decoded"):
        tune_weights([], [])


@pytest.fixture
def models(recognizer, tmp_path):
    estimate_bigram(lambda: ["a b c", "a b", "c a"], recognizer.tokenizer, tmp_path / BIGRAM)
    (tmp_path / "text.txt").write_text("b c a b\nc c a\nb\n")
    estimate_language_model(Sentences([tmp_path / "text.txt"], recognizer.tokenizer), tmp_path / "lm.arpa", 3)
    names = ["lm", "lodr", "ilm"]
    return open_models(names, tmp_path / "lm.arpa", tmp_path, recognizer.tokenizer, recognizer.model)


def test_the_stored_scores_tell_the_totals_of_searches_with_other_weights(recognizer, models):
    """A beam that holds all sequences prunes none, so both searches find the same ones."""
    frames = torch.randn(3, 2, recognizer.model.encoder.width, generator=torch.Generator().manual_seed(0))
    config = DecodingConfig(max_symbols_per_frame=2, method="beam", beam=256)

    def search(weights):
        hypotheses = beam(recognizer.model, frames, torch.tensor([2, 1, 2]), config, [weigh(models, weights)])
        return [[Alternative("", h.tokens, h.score, h.total) for h in found] for found in hypotheses]

    weights = {"lm": 0.3, "lodr": 0.1, "ilm": 0.0}
    lists = score_lists(search(weights), models, {name: SIGNS[name] * value for name, value in weights.items()})
    for found in itertools.chain.from_iterable(lists):
        assert plain_total(found, weights) == pytest.approx(found.total, abs=1e-3)
    for other in ({"lm": 0.3, "lodr": 0.3, "ilm": 0.0}, {"lm": 0.5, "lodr": 0.0, "ilm": 0.2}):
        expected = [{tuple(x.tokens): x.total for x in found} for found in search(other)]
        for totals, found in zip(expected, lists):
            for each in found:  # sums over alignments are not quite linear in the weight
                assert plain_total(each, other) == pytest.approx(totals[tuple(each.tokens)], abs=0.03, rel=0.02)


def test_one_search_with_a_wide_beam_makes_the_lists(recognizer, models, tmp_path, utterances):
    texts = ["a b", "b", "c a c", "", "a", "b", "a c"]
    stored = (StoredUtterance(str(i), x, text, "") for i, (x, text) in enumerate(zip(utterances, texts)))
    write_split(tmp_path / "split", stored, 16000, source="noise")
    tuned, evaluation = tune(recognizer, Dataset(tmp_path / "split"), models, recognizer.config.decoding)
    (found,) = evaluation.decoders
    assert found.decoder == f"beam:{LIST}+lm" and len(found.nbest) == len(evaluation.pairs) == 7
    assert max(map(len, found.nbest)) == LIST
    assert all(set(each.scores) == {"lm", "lodr", "ilm", "blank"} for entries in found.nbest for each in entries)
    assert tuned == tune_weights(found.nbest, found.pairs)
