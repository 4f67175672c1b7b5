"""transducer_loss against the joint network written out, in float64, and on inputs with NaN and mistakes."""

import doctest

import pytest
import torch

from rnnt import rnnt_loss, transducer_loss
from rnnt.loss import transducer

SIZES = [(6, 3), (2, 4), (5, 0), (1, 1)]
NAMES = ("encoder", "predictor", "weight", "bias")
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["reference", "fused"])


def problem(seed=0, vocabulary=5, width=4):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    frames, labels = torch.tensor(SIZES).T
    inputs = (normal(4, 6, width), normal(4, 5, width), normal(vocabulary, width), normal(vocabulary))
    targets = torch.randint(0, vocabulary - 1, (4, 4), generator=generator)
    return inputs, targets, frames, labels


def gradients(loss, inputs):
    return torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@IMPLEMENTATIONS
def test_equals_the_joint_written_out(activation, implementation):
    inputs, targets, frames, labels = problem()
    encoder, predictor, weight, bias = inputs
    nodes = [[encoder[:, t] + predictor[:, u] for u in range(5)] for t in range(6)]
    hidden = getattr(torch, activation)(torch.stack([torch.stack(row, 1) for row in nodes], 1))
    logits = torch.einsum("btuh,vh->btuv", hidden, weight) + bias
    expected = rnnt_loss(logits, targets, frames, labels)
    loss = transducer_loss(*inputs, targets, frames, labels, activation=activation, implementation=implementation)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for name, value, reference in zip(NAMES, gradients(loss, inputs), gradients(expected, inputs)):
        torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-12, msg=name)


@IMPLEMENTATIONS
def test_finite_differences(implementation):
    inputs, targets, frames, labels = problem()
    weights = torch.tensor([0.3, -1.7, 2.0, 0.0], dtype=torch.float64)

    def loss(*inputs):
        options = {"activation": "tanh", "reduction": "none", "tolerance": 0.0, "implementation": implementation}
        return transducer_loss(*inputs, targets, frames, labels, **options) * weights

    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-7)


@IMPLEMENTATIONS
def test_padding_is_not_read_forwards_or_backwards(implementation):
    inputs, targets, frames, labels = problem()
    options = {"reduction": "none", "implementation": implementation}
    expected = transducer_loss(*inputs, targets, frames, labels, **options)
    reference = gradients(expected.sum(), inputs)
    poisoned = [x.detach().clone() for x in inputs]
    for i, (t, u) in enumerate(SIZES):
        poisoned[0][i, t:] = torch.nan
        poisoned[1][i, u + 1 :] = torch.inf
        targets[i, u:] = 99
    for x in poisoned:
        x.requires_grad_()
    losses = transducer_loss(*poisoned, targets, frames, labels, **options)
    assert torch.equal(losses, expected)
    for name, value, other in zip(NAMES, gradients(losses.sum(), poisoned), reference):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("broken_input", [0, 1])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@IMPLEMENTATIONS
def test_an_utterance_that_is_not_finite_leaves_the_others_alone(broken_input, value, implementation):
    inputs, targets, frames, labels = problem()
    options = {"reduction": "none", "implementation": implementation}
    others = transducer_loss(*inputs, targets, frames, labels, **options)[1:]
    reference = gradients(others.sum(), inputs)
    broken = [x.detach().clone() for x in inputs]
    broken[broken_input][0, 0, 0] = value
    for x in broken:
        x.requires_grad_()
    losses = transducer_loss(*broken, targets, frames, labels, **options)
    assert losses[0] == torch.inf
    assert torch.equal(losses[1:], others)
    for name, grad, other in zip(NAMES, gradients(losses.sum(), broken), reference):
        torch.testing.assert_close(grad, other, rtol=1e-12, atol=1e-14, msg=name)


@IMPLEMENTATIONS
def test_dropout_repeats_with_the_seed(implementation):
    inputs, targets, frames, labels = problem()

    def loss(seed, rate):
        torch.manual_seed(seed)
        return transducer_loss(*inputs, targets, frames, labels, dropout=rate, implementation=implementation)

    assert torch.equal(loss(1, 0.5), loss(1, 0.5))
    assert not torch.equal(loss(1, 0.5), loss(2, 0.5))
    assert torch.equal(loss(1, 0.0), loss(2, 0.0))


@IMPLEMENTATIONS
def test_the_inputs_may_be_in_any_memory_layout(implementation):
    inputs, targets, frames, labels = problem()
    expected = transducer_loss(*inputs, targets, frames, labels, implementation=implementation)
    reference = gradients(expected, inputs)
    strided = [x.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_() for x in inputs[:3]]
    strided.append(inputs[3].detach().repeat(2, 1).T.contiguous()[:, 0].requires_grad_())
    loss = transducer_loss(*strided, targets, frames, labels, implementation=implementation)
    assert torch.equal(loss, expected)
    for name, value, other in zip(NAMES, gradients(loss, strided), reference):
        torch.testing.assert_close(value, other, rtol=1e-12, atol=1e-14, msg=name)


def test_blank_may_be_any_symbol():
    inputs, targets, frames, labels = problem()
    expected = transducer_loss(*inputs, targets, frames, labels)
    order = [4, 0, 1, 2, 3]  # blank first, as in other toolkits
    moved = transducer_loss(*inputs[:2], inputs[2][order], inputs[3][order], targets + 1, frames, labels, blank=0)
    torch.testing.assert_close(moved, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"implementation": "magic"}, "implementation is 'magic'; choose auto, reference, fused, triton"),
        ({"dropout": 1.0}, r"dropout is 1\.0; it must be at least 0 and below 1"),
        ({"fastemit": -0.1}, r"fastemit is -0\.1; it must not be negative"),
        ({"tolerance": 1.0}, r"tolerance is 1\.0; it must be at least 0 and below 1"),
        ({"bias_V": None}, "give both weight and bias"),
        ({"activation": "gelu"}, "activation is 'gelu'; choose relu or tanh"),
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"weight_VH": torch.zeros(5, 3)}, "differ in their last size"),
        ({"encoder_BTH": torch.zeros(6, 4)}, r"must be \(B, T, H\)"),
        ({"predictor_BUH": torch.zeros(3, 5, 4)}, "predictor is for 3 utterances, encoder for 4"),
        ({"bias_V": torch.zeros(4)}, r"bias is \(4,\), but weight is for 5 symbols"),
        ({"encoder_lengths": torch.tensor([6, 2, 7, 1])}, r"encoder_lengths\[2\] is 7"),
        ({"target_lengths": torch.tensor([3, 4, 0, 5])}, r"target_lengths\[3\] is 5"),
        ({"targets_BU": torch.full((4, 4), 4)}, r"targets\[0, 0\] is 4, which is blank"),
        ({"targets_BU": torch.zeros(4, 5, dtype=torch.long)}, r"targets are \(4, 5\)"),
    ],
)
def test_a_mistake_is_named(changes, message):
    inputs, targets, frames, labels = problem()
    given = dict(zip(("encoder_BTH", "predictor_BUH", "weight_VH", "bias_V"), inputs))
    given |= {"targets_BU": targets, "encoder_lengths": frames, "target_lengths": labels}
    with pytest.raises(ValueError, match=message):
        transducer_loss(**{**given, **changes})


def test_the_example_in_the_docstring_runs():
    results = doctest.testmod(transducer)
    assert results.attempted > 0 and results.failed == 0
