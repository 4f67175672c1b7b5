"""The whole model: its size, its modules put together, and invariances."""

import pytest
import torch

from rnnt import rnnt_loss
from rnnt.model import Transducer
from rnnt.model_config import EncoderConfig, JointConfig, LstmConfig, ModelConfig, PredictorConfig
from rnnt.settings import load_config

TINY = ModelConfig(
    EncoderConfig(lstm=LstmConfig(hidden=6, pre_layers=1, post_layers=1)),
    PredictorConfig(embedding=4, hidden=5, layers=2),
    JointConfig(hidden=8),
)


def test_the_reference_model_has_its_49_million_parameters():
    with torch.device("meta"):
        model = Transducer(240, 1024, load_config("librispeech-mlperf").model)
    assert model.num_parameters() == 49_006_080
    assert model.blank == 1023
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes["encoder.pre.lstm.weight_ih_l0"] == (4096, 240)
    assert shapes["encoder.post.lstm.weight_ih_l0"] == (4096, 2048)
    assert shapes["encoder.post.lstm.weight_hh_l2"] == (4096, 1024)
    assert shapes["predictor.embedding.weight"] == (1023, 512)
    assert shapes["predictor.lstm.weight_hh_l1"] == (2048, 512)
    assert shapes["joint.encoder.weight"] == (512, 1024)
    assert shapes["joint.predictor.weight"] == (512, 512)
    assert shapes["joint.output.weight"] == (1024, 512)
    rates = (model.encoder.pre.dropout.p, model.encoder.pre.lstm.dropout, model.encoder.post.lstm.dropout)
    assert rates == (0.1, 0.1, 0.1)
    assert (model.predictor.dropout.p, model.predictor.lstm.dropout, model.joint.dropout) == (0.3, 0.3, 0.3)


def test_every_lstm_starts_with_an_open_forget_gate():
    torch.manual_seed(0)
    model = Transducer(3, 5, TINY)
    for lstm in (model.encoder.pre.lstm, model.encoder.post.lstm, model.predictor.lstm):
        bound = 0.5 / lstm.hidden_size**0.5
        forget = slice(lstm.hidden_size, 2 * lstm.hidden_size)
        for name, value in lstm.named_parameters():
            if name.startswith("bias_ih"):
                assert (value[forget] == 0.5).all()
            elif name.startswith("bias_hh"):
                assert (value[forget] == 0.0).all()
            rest = value.detach().clone()
            if name.startswith("bias"):
                rest[forget] = 0
            assert 0.5 * bound < rest.abs().max() <= bound


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 9, 3, generator=generator, dtype=torch.float64)
    return features, torch.tensor([9, 2, 5]), torch.tensor([[1, 3, 0], [2, 0, 0], [0, 0, 0]]), torch.tensor([3, 1, 0])


def of_kind(kind, activation="relu"):
    torch.manual_seed(0)
    joint = JointConfig(8, activation, kind=kind)
    return Transducer(3, 5, ModelConfig(TINY.encoder, TINY.predictor, joint)).double().eval()


KINDS = [("network", "relu"), ("network", "tanh"), ("additive", "relu")]


@pytest.mark.parametrize("kind, activation", KINDS)
def test_the_loss_is_that_of_the_parts(kind, activation):
    model = of_kind(kind, activation)
    features, lengths, targets, target_lengths = batch()
    encoded, frames = model.encoder(features, lengths)
    predicted = model.joint.project_predictor(model.predictor(targets))
    logits = model.joint(model.joint.project_encoder(encoded)[:, :, None], predicted[:, None])
    expected = rnnt_loss(logits, targets, frames, target_lengths, reduction="none")
    losses = model(features, lengths, targets, target_lengths)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["network", "additive"])
def test_fastemit_reaches_the_loss(kind):
    """FastEmit leaves the loss unchanged, and adds `weight` times the gradient of the labels' arcs."""
    model = of_kind(kind)
    gradients = []
    for fastemit in (0.0, 0.5, 1.0):
        losses = model(*batch(), fastemit=fastemit)
        torch.testing.assert_close(losses, model(*batch()), rtol=1e-12, atol=0)
        gradients.append(torch.autograd.grad(losses.sum(), model.joint.encoder.weight)[0])
    assert (gradients[1] - gradients[0]).abs().max() > 0.01
    torch.testing.assert_close(gradients[2] - gradients[0], 2 * (gradients[1] - gradients[0]), rtol=1e-9, atol=1e-12)


def test_padding_batch_and_order_do_not_matter():
    torch.manual_seed(0)
    model = Transducer(3, 5, TINY).double().eval()
    features, lengths, targets, target_lengths = batch()
    losses = model(features, lengths, targets, target_lengths)
    for i in range(3):
        alone = model(
            features[i : i + 1, : lengths[i]],
            lengths[i : i + 1],
            targets[i : i + 1, : target_lengths[i]],
            target_lengths[i : i + 1],
        )
        torch.testing.assert_close(alone[0], losses[i], rtol=1e-12, atol=0)
    order = [2, 0, 1]
    shuffled = model(features[order], lengths[order], targets[order], target_lengths[order])
    torch.testing.assert_close(shuffled, losses[order], rtol=1e-12, atol=0)


@pytest.mark.parametrize("value", [-1, 4, 10**9])
def test_padding_of_the_targets_may_hold_anything(value):
    torch.manual_seed(0)
    model = Transducer(3, 5, TINY).double().eval()
    features, lengths, targets, target_lengths = batch()
    expected = model(features, lengths, targets, target_lengths)
    padded = targets.masked_fill(torch.arange(3) >= target_lengths[:, None], value)
    losses = model(features, lengths, padded, target_lengths)
    assert torch.equal(losses, expected)
    for a, b in zip(
        torch.autograd.grad(losses.sum(), model.parameters()), torch.autograd.grad(expected.sum(), model.parameters())
    ):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match=r"targets\[0, 0\] is"):
        model(features, lengths, torch.full_like(targets, value), target_lengths)


def test_dropout_acts_on_all_parts_while_training():
    torch.manual_seed(0)
    model = Transducer(3, 5, TINY).double()
    arguments = batch()
    assert torch.equal(model.eval()(*arguments), model(*arguments))
    assert not torch.equal(model.train()(*arguments), model(*arguments))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = model(*arguments)
        torch.manual_seed(5)
        assert torch.equal(model(*arguments), first)


@pytest.mark.parametrize("kind", ["network", "additive"])
def test_every_parameter_learns(kind):
    model = of_kind(kind)
    model(*batch()).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
