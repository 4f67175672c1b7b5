"""The fused loss against stored logits in float64, for several sizes of tiles, and the nodes that it does not visit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from rnnt import transducer_loss
from rnnt.loss import scores
from rnnt.loss.lattice import forward_backward

NAMES = ("encoder", "predictor", "weight", "bias")


def problem(sizes, vocabulary, width, seed=0, blank=-1, scale=1.0, additive=False):
    """Inputs in float64 that require gradients, and (targets, lengths T and U), for utterances of the given (T, U)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    frames, labels = torch.tensor(sizes).T
    width = vocabulary if additive else width
    inputs = [normal(len(sizes), int(frames.max()), width), normal(len(sizes), int(labels.max()) + 1, width)]
    inputs += [None, None] if additive else [normal(vocabulary, width), normal(vocabulary)]
    targets = torch.randint(1, vocabulary, (len(sizes), int(labels.max())), generator=generator)
    targets = (targets + blank) % vocabulary  # any symbol but blank
    return [x if x is None else x.requires_grad_() for x in inputs], (targets, frames, labels)


def gradients(loss, inputs):
    return torch.autograd.grad(loss, [x for x in inputs if x is not None])


def cast(inputs, dtype):
    return [x if x is None else x.detach().to(dtype).requires_grad_() for x in inputs]


def relative_error(value, reference):
    value, reference = value.detach().double(), reference.detach()
    return float((value - reference).norm() / reference.norm())


@pytest.fixture
def small_tiles(monkeypatch):
    """Makes tiles so small that even small lattices take several, the last of which is not full."""
    monkeypatch.setattr(scores, "_CPU_TILE", 97)


SIZES = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 8)), min_size=1, max_size=4)


@given(
    sizes=SIZES,
    vocabulary=st.integers(2, 6),
    width=st.integers(1, 5),
    activation=st.sampled_from(["relu", "tanh"]),
    additive=st.booleans(),
    seed=st.integers(0, 99),
    data=st.data(),
)
@settings(max_examples=60)
def test_equals_the_stored_logits(sizes, vocabulary, width, activation, additive, seed, data):
    blank = data.draw(st.integers(-vocabulary, vocabulary - 1))
    tile = data.draw(st.sampled_from([1, 40, scores._CPU_TILE]))
    inputs, lattice = problem(sizes, vocabulary, width, seed, blank, additive=additive)
    options = {"blank": blank, "activation": activation, "tolerance": 0.0, "reduction": "none"}
    expected = transducer_loss(*inputs, *lattice, **options, implementation="reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "_CPU_TILE", tile)
        losses = transducer_loss(*inputs, *lattice, **options, implementation="fused")
        weights = torch.linspace(-1, 2, len(sizes), dtype=torch.float64)
        grads = gradients(losses @ weights, inputs)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-12)
    for name, value, reference in zip(NAMES, grads, gradients(expected @ weights, inputs)):
        torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-12, msg=name)


@given(frames=st.integers(1, 4), labels=st.integers(0, 4), vocabulary=st.integers(2, 4), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_equals_the_sum_over_all_alignments(brute_force, frames, labels, vocabulary, seed):
    inputs, lattice = problem([(frames, labels)], vocabulary, 3, seed)
    encoder, predictor, weight, bias = (x.detach() for x in inputs)
    log_probs = (torch.relu(encoder[0, :, None] + predictor[0]) @ weight.T + bias).log_softmax(-1).numpy()
    index = np.append(lattice[0][0].numpy(), 0)[None, :, None].repeat(frames, 0)
    label = np.take_along_axis(log_probs, index, 2)[..., 0]
    expected = brute_force(log_probs[..., -1], label, frames, labels)[0]
    loss = transducer_loss(*inputs, *lattice, implementation="fused")
    np.testing.assert_allclose(loss.item(), -expected, rtol=1e-12)


LARGE = [(80, 30), (61, 41), (12, 30), (1, 7), (33, 0)]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_large_lattices_in_float32(activation):
    inputs, lattice = problem(LARGE, 120, 64, scale=0.5)
    expected = transducer_loss(*inputs, *lattice, activation=activation, implementation="reference")
    narrow = cast(inputs, torch.float32)
    loss = transducer_loss(*narrow, *lattice, activation=activation, implementation="fused")
    assert loss.dtype == torch.float32
    assert relative_error(loss, expected) < 1e-6
    for name, value, reference in zip(NAMES, gradients(loss, narrow), gradients(expected, inputs)):
        assert relative_error(value, reference) < 1e-5, name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("gains", [False, True])
def test_half_precision(dtype, tolerance, autocast, gains, monkeypatch):
    monkeypatch.setattr(scores, "cpu_gains_by_bfloat16", lambda: gains)  # False: matrix products are in float32
    inputs, lattice = problem(LARGE, 120, 64, scale=0.5)
    half = cast(inputs, dtype)
    wide = cast(half, torch.float64)  # the narrow numbers exactly
    given = cast(half, torch.float32) if autocast else half
    with torch.autocast("cpu", dtype, enabled=autocast):
        loss = transducer_loss(*given, *lattice, implementation="fused")
    expected = transducer_loss(*wide, *lattice, implementation="reference")
    assert loss.dtype == torch.float32
    assert relative_error(loss, expected) < tolerance
    for name, x, value, reference in zip(NAMES, given, gradients(loss, given), gradients(expected, wide)):
        assert value.dtype == x.dtype
        assert relative_error(value, reference) < tolerance, name


def test_small_gradients_do_not_vanish_in_float16():
    inputs, lattice = problem(LARGE, 120, 64, scale=0.5)
    half = cast(inputs, torch.float16)
    expected = gradients(transducer_loss(*half, *lattice, implementation="fused"), half)
    wide = cast(half, torch.float32)
    with torch.autocast("cpu", torch.float16):
        small = gradients(transducer_loss(*wide, *lattice, implementation="fused") * 2.0**-30, wide)
    for name, value, reference in zip(NAMES, small, expected):
        assert relative_error(value * 2.0**30, reference.double()) < 5e-3, name


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_dropout_is_the_same_when_a_tile_is_computed_again(activation):
    inputs, lattice = problem([(6, 3), (2, 4), (5, 0), (1, 1)], 5, 4)
    losses, grads = [], []
    for implementation in ("reference", "fused"):
        torch.manual_seed(7)
        options = {"activation": activation, "dropout": 0.4, "tolerance": 0.0, "implementation": implementation}
        losses.append(transducer_loss(*inputs, *lattice, **options))
        torch.rand(3)  # random numbers drawn in between do not matter
        grads.append(gradients(losses[-1], inputs))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-12, atol=0)
    for name, value, reference in zip(NAMES, *reversed(grads)):
        torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-12, msg=name)


def test_fastemit_multiplies_the_gradients_of_label_arcs():
    """The gradient is that of the expected log-probability of the arcs taken, with labels weighted by 1 + lambda."""
    inputs, (targets, frames, labels) = problem([(6, 3), (4, 4)], 5, 4)
    encoder, predictor, weight, bias = inputs
    log_probs = (torch.relu(encoder[:, :, None] + predictor[:, None]) @ weight.T + bias).log_softmax(-1)
    index = torch.nn.functional.pad(targets, (0, 1))[:, None, :, None].expand(-1, 6, -1, 1)
    blank, label = log_probs[..., -1], log_probs.gather(3, index)[..., 0]
    _, g_blank, g_label = forward_backward(blank.detach(), label.detach(), frames, labels)
    expected = gradients(-(g_blank * blank).sum() - 1.3 * (g_label * label).sum(), inputs)
    plain = transducer_loss(*inputs, targets, frames, labels, reduction="sum")
    for implementation in ("reference", "fused"):
        options = {"fastemit": 0.3, "tolerance": 0.0, "reduction": "sum", "implementation": implementation}
        loss = transducer_loss(*inputs, targets, frames, labels, **options)
        torch.testing.assert_close(loss, plain, rtol=1e-12, atol=0)
        for name, value, reference in zip(NAMES, gradients(loss, inputs), expected):
            torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("tolerance", [1e-7, 1e-3, 1e-1])
def test_the_error_of_the_tolerance_is_bounded(tolerance):
    """A node not visited changes the gradient of its logits, here the inputs, by at most twice the tolerance."""
    inputs, lattice = problem([(40, 20)], 30, 0, additive=True, scale=3.0)
    exact = gradients(transducer_loss(*inputs, *lattice, tolerance=0.0, implementation="fused"), inputs)
    rough = gradients(transducer_loss(*inputs, *lattice, tolerance=tolerance, implementation="fused"), inputs)
    for value, reference, summed in zip(rough, exact, (21, 40)):
        difference = (value - reference).abs().sum(-1)
        assert difference.max() <= 2 * tolerance * summed
        assert difference.max() > 0


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest result."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.numel())
        return result


def test_logits_and_hidden_layer_of_the_lattice_are_never_stored(monkeypatch):
    monkeypatch.setattr(scores, "_CPU_TILE", 2**14)
    inputs, lattice = problem([(50, 20), (40, 25)], 64, 32)
    with Largest() as largest:
        transducer_loss(*inputs, *lattice, implementation="fused").backward()
    nodes = 2 * 50 * 26
    assert largest.elements <= max(2**14, nodes * 4)
    with Largest() as largest:
        transducer_loss(*inputs, *lattice, implementation="reference").backward()
    assert largest.elements >= nodes * 64


@pytest.mark.parametrize("implementation", ["reference", "fused"])
def test_an_impossible_utterance_among_others(implementation):
    inputs, (targets, frames, labels) = problem([(5, 3), (5, 3), (4, 2)], 6, 4)
    with torch.no_grad():
        # Symbol 0 has probability zero, and only the first utterance contains it.
        inputs[3][0] = -torch.inf
        targets[0] = torch.tensor([1, 0, 2])
        targets[1:] = 3
    options = {"reduction": "none", "implementation": implementation}
    losses = transducer_loss(*inputs, targets, frames, labels, **options)
    assert losses[0] == torch.inf
    alone = [x[1:] for x in inputs[:2]]
    expected = transducer_loss(*alone, *inputs[2:], targets[1:], frames[1:], labels[1:], **options)
    torch.testing.assert_close(losses[1:], expected, rtol=1e-12, atol=0)
    references = gradients(expected.sum(), inputs)
    for weights in (torch.ones(3), torch.tensor([torch.nan, 1.0, 1.0])):
        grads = torch.autograd.grad(losses, inputs, weights.double(), retain_graph=True)
        for name, value, reference in zip(NAMES, grads, references):
            torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-12, msg=name)


def test_one_utterance_does_not_see_its_batch(small_tiles):
    sizes = [(6, 3), (2, 4), (5, 0), (1, 1)]
    inputs, (targets, frames, labels) = problem(sizes, 5, 4)
    losses = transducer_loss(*inputs, targets, frames, labels, reduction="none", implementation="fused")
    for i, (t, u) in enumerate(sizes):
        alone = transducer_loss(
            inputs[0][i : i + 1, :t], inputs[1][i : i + 1, : u + 1], *inputs[2:], targets[i : i + 1, :u],
            frames[i : i + 1], labels[i : i + 1], implementation="fused",
        )  # fmt: skip
        torch.testing.assert_close(alone, losses[i], rtol=1e-12, atol=0)
    order = torch.tensor([2, 0, 3, 1])
    moved = transducer_loss(
        *(x[order] for x in inputs[:2]), *inputs[2:], targets[order], frames[order], labels[order],
        reduction="none", implementation="fused",
    )  # fmt: skip
    torch.testing.assert_close(moved, losses[order], rtol=1e-12, atol=0)
