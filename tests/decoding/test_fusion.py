"""A language model less the model's own: the scores are sums of theirs, and weights are checked."""

import itertools

import pytest
import torch

from rnnt.config import DecodingConfig
from rnnt.decoding import beam, greedy
from rnnt.decoding.fusion import LM_WEIGHT, LODR_SHARE, Fusion, fuse, make_fusion
from rnnt.decoding.internal import InternalLm
from rnnt.decoding.language_model import load_language_model
from rnnt.model import Transducer
from rnnt.model_config import ModelConfig
from rnnt.ngram.bigram import BIGRAM, estimate_bigram
from rnnt.ngram.estimate import estimate_language_model
from rnnt.ngram.sentences import Sentences
from rnnt.tokenizer import Symbols


@pytest.fixture
def folder(recognizer, tmp_path):
    """A model's folder with a bigram model, and lm.arpa next to it: a model of other texts."""
    recognizer.save(tmp_path / "model")
    estimate_bigram(lambda: ["a b c", "a b", "c a"], recognizer.tokenizer, tmp_path / "model" / BIGRAM)
    (tmp_path / "text.txt").write_text("b c a b\nc c a\nb\n")
    sentences = Sentences([tmp_path / "text.txt"], recognizer.tokenizer)
    estimate_language_model(sentences, tmp_path / "lm.arpa", 3)
    return tmp_path / "model"


def total(scorer, symbols):
    """The score of a sequence, its end included."""
    state, score = scorer.start(1), 0.0
    for symbol in symbols:
        score += float(scorer.scores(state)[0, symbol])
        state = scorer.advance(state, torch.tensor([symbol]))
    return score + float(scorer.finish(state))


@pytest.mark.parametrize(
    "weights", [(0.5, 0.0, 0.0), (0.5, 0.2, 0.0), (0.0, 0.3, 0.0), (0.4, 0.0, 0.3), (0.4, 0.1, 0.2)]
)
@torch.inference_mode()
def test_the_scores_are_those_of_one_model_less_those_of_the_others(folder, recognizer, weights):
    lm, tokenizer = folder.parent / "lm.arpa", recognizer.tokenizer
    scorer = fuse(Fusion(lm, *weights), folder, tokenizer, recognizer.model)
    alone = load_language_model(lm, tokenizer), load_language_model(folder / BIGRAM, tokenizer)
    alone += (InternalLm(1.0, recognizer.model),)
    assert scorer.blank_weight == pytest.approx(weights[0] - weights[1] - weights[2])
    for symbols in ([], [0], [1, 2, 0, 1], [2, 2, 2], [0, 1, 2, 0, 0]):
        expected = [weight * total(each, symbols) for weight, each in zip((1, -1, -1), alone)]
        expected = sum(weight * score for weight, score in zip(weights, expected))
        assert total(scorer, symbols) == pytest.approx(expected, abs=1e-4)


def test_the_bigram_model_is_subtracted_by_default_if_there_is_one(folder, recognizer):
    lm, model = folder.parent / "lm.arpa", (recognizer.tokenizer, recognizer.model)

    def weights(**given):
        return [scorer.weight for scorer in fuse(make_fusion(lm, **given), folder, *model).scorers]

    assert weights() == [LM_WEIGHT, -LODR_SHARE * LM_WEIGHT]
    assert weights(lm_weight=0.8) == [0.8, -LODR_SHARE * 0.8]
    assert weights(lodr_weight=0.0) == [LM_WEIGHT]
    assert weights(lodr_weight=0.1, ilm_weight=0.2) == [LM_WEIGHT, -0.1, -0.2]
    assert weights(ilm_weight=0.2) == [LM_WEIGHT, -0.2]
    (folder / BIGRAM).unlink()
    assert weights() == [LM_WEIGHT]
    with pytest.raises(ValueError, match=rf"has no {BIGRAM} to subtract"):
        weights(lodr_weight=0.1)


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["lm_weight", "lodr_weight", "ilm_weight"])
def test_weights_that_are_no_weights_are_refused(name, wrong):
    with pytest.raises(ValueError, match=rf"^{name} is {wrong}; it must be a number from 0 on, such as 0\.3$"):
        make_fusion("lm.arpa", **{name: wrong})
    with pytest.raises(ValueError, match=f"^{name} is given without a language model; give one with lm, or --lm FILE$"):
        make_fusion(None, **{name: 0.3})
    assert make_fusion(None) is None


def test_a_bigram_model_of_other_symbols_is_refused(folder, recognizer):
    (folder / BIGRAM).write_text((folder / BIGRAM).read_text().replace("\tb", "\tbee").replace(" b", " bee"))
    with pytest.raises(ValueError, match=r"bigram\.arpa: 1 of its 3 words are no symbols of the model"):
        fuse(Fusion(folder.parent / "lm.arpa"), folder, recognizer.tokenizer, recognizer.model)


def test_a_language_model_promotes_a_symbol_beyond_the_most_probable_ones_of_the_frame(tmp_path):
    """All symbols get the language model's score before the best few are chosen."""
    letters = Symbols("characters", [*"abcdefghijklmnopqrstuvwxyz"])
    model = Transducer(3, 27, ModelConfig()).eval()
    with torch.no_grad():  # the same scores at all frames: a is the most probable symbol, z the least
        model.joint.output.weight.zero_()
        model.joint.output.bias.copy_(torch.cat((torch.linspace(3, 2, 26), torch.tensor([2.9]))))
    (tmp_path / "text.txt").write_text("z\n" * 200)
    estimate_language_model(Sentences([tmp_path / "text.txt"], letters), tmp_path / "lm.arpa", 2)
    frames = torch.zeros(1, 1, model.encoder.width)
    config = DecodingConfig(max_symbols_per_frame=1, method="beam", beam=2)
    for weight, expected in ((0.0, [0]), (1.0, [25])):
        how = model, frames, torch.tensor([1]), config, [load_language_model(tmp_path / "lm.arpa", letters, weight)]
        assert greedy(*how)[0].tokens == expected
        assert expected in [hypothesis.tokens for hypothesis in beam(*how)[0]]


@torch.inference_mode()
def test_a_wide_beam_ranks_all_sequences_by_the_sum(folder, recognizer):
    """Brute force: with a beam that holds all sequences, total minus score is what the scorers add, blanks included."""
    frames = torch.randn(1, 2, recognizer.model.encoder.width, generator=torch.Generator().manual_seed(0))
    scorer = fuse(Fusion(folder.parent / "lm.arpa", 0.5, 0.5), folder, recognizer.tokenizer, recognizer.model)
    assert scorer.blank_weight == 0
    config = DecodingConfig(max_symbols_per_frame=2, method="beam", beam=256)
    (found,) = beam(recognizer.model, frames, torch.tensor([2]), config, [scorer])
    assert len(found) == sum(3**n for n in range(5))
    assert {tuple(h.tokens) for h in found} == {x for n in range(5) for x in itertools.product(range(3), repeat=n)}
    for hypothesis in found:
        assert hypothesis.total - hypothesis.score == pytest.approx(total(scorer, hypothesis.tokens), abs=1e-3)
    assert [h.total for h in found] == sorted((h.total for h in found), reverse=True)
