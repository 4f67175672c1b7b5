"""Batched greedy decoding against the textbook loop: one utterance, one frame, one symbol at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt.config import DecodingConfig, EncoderConfig, JointConfig, LstmConfig, ModelConfig, PredictorConfig
from rnnt.decoding import greedy
from rnnt.decoding.greedy import _WINDOW
from rnnt.model import Transducer

WIDTH = 6


def make_model(seed, vocabulary=5, layers=1, activation="tanh", blank_bias=0.0):
    """A random model that emits often; the higher blank_bias, the less."""
    torch.manual_seed(seed)
    config = ModelConfig(
        EncoderConfig(lstm=LstmConfig(hidden=WIDTH, pre_layers=1, post_layers=1)),
        PredictorConfig(embedding=4, hidden=5, layers=layers, dropout=0.3),
        JointConfig(hidden=8, activation=activation, dropout=0.5),
        init_scale=1.0,
    )
    model = Transducer(3, vocabulary, config).double().eval()
    with torch.no_grad():
        for layer in (model.joint.encoder, model.joint.predictor, model.joint.output):
            layer.weight.normal_(std=1.5)
        model.joint.output.bias[-1] += blank_bias
    return model


@torch.no_grad()
def textbook(model, encoder_TD, config):
    """Graves 2012, with the two limits. The predictor is run anew over the whole history at every step."""
    tokens, frames, log_probs = [], [], []
    for t in range(len(encoder_TD)):
        for _ in range(config.max_symbols_per_frame):
            if len(tokens) == config.max_symbols:
                return tokens, frames, log_probs
            history = torch.tensor([tokens], dtype=torch.long)
            state = model.joint.predictor(model.predictor(history)[0, -1])
            scores = model.joint(model.joint.encoder(encoder_TD[t]), state).log_softmax(-1)
            best = int(scores.argmax())
            if best == model.vocabulary - 1:
                break
            tokens.append(best)
            frames.append(t)
            log_probs.append(float(scores[best]))
    return tokens, frames, log_probs


def encoded(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(len(lengths), max(lengths), WIDTH, generator=generator, dtype=torch.float64)
    for i, length in enumerate(lengths):
        frames[i, length:] = torch.nan
    return frames, torch.tensor(lengths)


def check(model, frames, lengths, config):
    """Compare a batch with the textbook; returns how many symbols there were in each utterance."""
    hypotheses = greedy(model, frames, lengths, config)
    assert len(hypotheses) == len(lengths)
    for hypothesis, utterance, length in zip(hypotheses, frames, lengths):
        tokens, places, log_probs = textbook(model, utterance[:length], config)
        assert hypothesis.tokens == tokens
        assert hypothesis.frames == places
        torch.testing.assert_close(torch.tensor(hypothesis.log_probs), torch.tensor(log_probs), rtol=1e-5, atol=1e-6)
    return [len(hypothesis.tokens) for hypothesis in hypotheses]


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    per_frame=st.integers(1, 4),
    most=st.sampled_from([1, 5, 300]),
    blank_bias=st.sampled_from([-6.0, 0.0, 3.0, 6.0]),
    vocabulary=st.sampled_from([2, 5, 9]),
)
@settings(max_examples=60)
def test_equals_the_textbook_loop(seed, lengths, per_frame, most, blank_bias, vocabulary):
    model = make_model(seed, vocabulary, layers=1 + seed % 2, blank_bias=blank_bias)
    check(model, *encoded(lengths, seed), DecodingConfig(per_frame, most))


def test_a_model_that_never_says_blank_meets_both_limits():
    model = make_model(1, blank_bias=-1000.0)
    frames, lengths = encoded([7, 3, 20], 1)
    assert check(model, frames, lengths, DecodingConfig(4, 300)) == [28, 12, 80]
    assert check(model, frames, lengths, DecodingConfig(4, 11)) == [11, 11, 11]
    assert check(model, frames, lengths, DecodingConfig(30, 300)) == [210, 90, 300]


def test_each_utterance_has_its_own_limit_and_says_whether_it_met_it():
    model = make_model(1, blank_bias=-1000.0)
    frames, lengths = encoded([7, 3, 20, 5], 1)
    limits = torch.tensor([7, 2, 100, 4])
    hypotheses = greedy(model, frames, lengths, DecodingConfig(1, 6), limits)
    for hypothesis, utterance, length, limit in zip(hypotheses, frames, lengths, limits.tolist()):
        assert hypothesis.tokens == textbook(model, utterance[:length], DecodingConfig(1, limit))[0]
    assert [len(hypothesis.tokens) for hypothesis in hypotheses] == [7, 2, 20, 4]
    assert [hypothesis.truncated for hypothesis in hypotheses] == [False, True, False, True]


def test_a_model_that_only_says_blank_emits_nothing():
    model = make_model(1, blank_bias=1000.0)
    assert check(model, *encoded([1, 50, _WINDOW], 1), DecodingConfig()) == [0, 0, 0]


@pytest.mark.parametrize("length", [1, _WINDOW - 1, _WINDOW, _WINDOW + 1, 2 * _WINDOW, 2 * _WINDOW + 1])
@pytest.mark.parametrize("per_frame", [1, 3])
def test_symbols_at_the_edges_of_the_look_ahead(length, per_frame):
    """One frame speaks, the others are silent: wherever it lies, it is found and speaks as often as it may."""
    model = make_model(3, vocabulary=3)
    with torch.no_grad():
        for layer in (model.joint.encoder, model.joint.predictor, model.joint.output):
            layer.weight.zero_()
            layer.bias.zero_()
        model.joint.encoder.weight[0, 0] = 1
        model.joint.output.weight[1, 0] = 10
        model.joint.output.bias[2] = 5
    for place in range(length):
        frames = torch.zeros(1, length, WIDTH, dtype=torch.float64)
        frames[0, place, 0] = 5
        (hypothesis,) = greedy(model, frames, torch.tensor([length]), DecodingConfig(per_frame, 300))
        assert hypothesis.frames == [place] * per_frame
        assert hypothesis.tokens == [1] * per_frame


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_batch_does_not_matter(activation):
    model = make_model(5, activation=activation, layers=2, blank_bias=4.0)
    frames, lengths = encoded([33, 1, 17, 48, 16, 5], 5)
    config = DecodingConfig(3, 40)
    together = greedy(model, frames, lengths, config)
    assert sum(len(hypothesis.tokens) for hypothesis in together) > 20
    order = [4, 2, 0, 5, 3, 1]
    shuffled = greedy(model, frames[order], lengths[order], config)
    for i, length in enumerate(lengths.tolist()):
        (alone,) = greedy(model, frames[i : i + 1, :length], lengths[i : i + 1], config)
        for other in (alone, shuffled[order.index(i)]):
            assert (other.tokens, other.frames) == (together[i].tokens, together[i].frames)
            torch.testing.assert_close(torch.tensor(other.log_probs), torch.tensor(together[i].log_probs))


def test_defaults_are_the_reference_limits():
    model = make_model(1, blank_bias=-1000.0)
    counts = [len(h.tokens) for h in greedy(model, *encoded([2, 40], 1))]
    assert counts == [60, 300]


def test_decoding_leaves_the_model_as_it_was():
    model = make_model(1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    frames, lengths = encoded([9], 2)
    greedy(model, frames, lengths)
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())
