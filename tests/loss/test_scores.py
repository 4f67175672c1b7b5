"""The scores of lattice nodes against the log-softmax of stored logits, and on inputs that must not matter."""

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from rnnt import transducer_loss
from rnnt.loss import node_scores, scores, tile
from rnnt.loss.lattice import forward_backward

INF = float("inf")
SIZES = [(6, 3), (2, 4), (5, 0), (1, 1)]


def problem(sizes=SIZES, vocabulary=5, width=4, seed=0, blank=-1, additive=False, dtype=torch.float64):
    """The joint's inputs, and (targets, encoder lengths, target lengths), for utterances of the given (T, U)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    frames, labels = torch.tensor(sizes).T
    width = vocabulary if additive else width
    inputs = [normal(len(sizes), int(frames.max()), width), normal(len(sizes), int(labels.max()) + 1, width)]
    inputs += [None, None] if additive else [normal(vocabulary, width), normal(vocabulary)]
    targets = torch.randint(1, vocabulary, (len(sizes), int(labels.max())), generator=generator)
    return inputs, ((targets + blank) % vocabulary, frames, labels)  # any symbol but blank


def stored(inputs, targets, frames, labels, blank=-1, activation="relu"):
    """The same scores, one utterance at a time, from the logits of its whole lattice."""
    encoder, predictor, weight, bias = inputs
    shape = (*encoder.shape[:2], predictor.shape[1])
    blank_scores, label_scores = torch.full((2, *shape), -INF, dtype=torch.float64)
    for i, (t, u) in enumerate(zip(frames.tolist(), labels.tolist())):
        logits = (encoder[i, :t, None] + predictor[i, None, : u + 1]).double()
        if weight is not None:
            logits = getattr(torch, activation)(logits) @ weight.double().T + bias.double()
        log_probs = logits.log_softmax(-1)
        blank_scores[i, :t, : u + 1] = log_probs[..., blank]
        for k in range(u):
            label_scores[i, :t, k] = log_probs[:, k, targets[i, k]]
    return blank_scores, label_scores


@given(
    sizes=st.lists(st.tuples(st.integers(1, 7), st.integers(0, 8)), min_size=1, max_size=4),
    vocabulary=st.integers(2, 6),
    width=st.integers(1, 5),
    activation=st.sampled_from(["relu", "tanh"]),
    additive=st.booleans(),
    seed=st.integers(0, 99),
    data=st.data(),
)
@settings(max_examples=60)
def test_equal_the_log_softmax_of_stored_logits(sizes, vocabulary, width, activation, additive, seed, data):
    blank = data.draw(st.integers(-vocabulary, vocabulary - 1))
    inputs, lattice = problem(sizes, vocabulary, width, seed, blank, additive)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "_CPU_TILE", data.draw(st.sampled_from([1, 40, scores._CPU_TILE])))
        values = node_scores(*inputs, *lattice, blank=blank, activation=activation)
    for value, expected in zip(values, stored(inputs, *lattice, blank, activation)):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("gains", [False, True])
def test_narrow_types_give_float32(dtype, tolerance, autocast, gains, monkeypatch):
    monkeypatch.setattr(scores, "cpu_gains_by_bfloat16", lambda: gains)  # False: matrix products are in float32
    inputs, lattice = problem([(40, 12), (17, 9)], 60, 32, dtype=dtype)
    given = [x.float() for x in inputs] if autocast else inputs
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast and dtype == torch.bfloat16):
        values = node_scores(*given, *lattice)
    for value, expected in zip(values, stored(inputs, *lattice)):
        assert value.dtype == torch.float32
        finite = expected.isfinite()
        assert torch.equal(value.isfinite(), finite)
        difference = value.double()[finite] - expected[finite]
        assert difference.norm() < tolerance * expected[finite].norm()


@pytest.mark.parametrize("additive", [False, True])
def test_padding_is_not_read(additive):
    inputs, (targets, frames, labels) = problem(additive=additive)
    expected = node_scores(*inputs, targets, frames, labels)
    for i, (t, u) in enumerate(SIZES):
        inputs[0][i, t:] = torch.nan
        inputs[1][i, u + 1 :] = INF
        targets[i, u:] = -99
    for value, reference in zip(node_scores(*inputs, targets, frames, labels), expected):
        assert torch.equal(value, reference)


def test_arcs_that_do_not_exist_have_no_probability():
    inputs, lattice = problem()
    blank, label = node_scores(*inputs, *lattice)
    for i, (t, u) in enumerate(SIZES):
        assert torch.isfinite(blank[i, :t, : u + 1]).all() and torch.isfinite(label[i, :t, :u]).all()
        assert (blank[i, t:] == -INF).all() and (blank[i, :, u + 1 :] == -INF).all()
        assert (label[i, t:] == -INF).all() and (label[i, :, u:] == -INF).all()


@pytest.mark.parametrize("additive", [False, True])
def test_one_utterance_does_not_see_its_batch(additive, monkeypatch):
    monkeypatch.setattr(scores, "_CPU_TILE", 97)  # several tiles, the last of them not full
    inputs, lattice = problem(additive=additive)
    together = node_scores(*inputs, *lattice)
    order = torch.tensor([2, 0, 3, 1])
    moved = node_scores(*(x[order] for x in inputs[:2]), *inputs[2:], *(x[order] for x in lattice))
    for value, expected in zip(moved, together):
        torch.testing.assert_close(value, expected[order], rtol=1e-12, atol=0)
    for i, (t, u) in enumerate(SIZES):
        one = slice(i, i + 1)
        alone = node_scores(
            inputs[0][one, :t], inputs[1][one, : u + 1], *inputs[2:], lattice[0][one, :u], lattice[1][one],
            lattice[2][one],
        )  # fmt: skip
        for value, expected in zip(alone, together):
            torch.testing.assert_close(value, expected[one, :t, : u + 1], rtol=1e-12, atol=0)


def test_are_computed_without_gradients_and_in_inference_mode():
    inputs, lattice = problem()
    expected = node_scores(*inputs, *lattice)
    parameters = [x.clone().requires_grad_() for x in inputs]
    values = node_scores(*parameters, *lattice)
    with torch.inference_mode():
        inferred = node_scores(*(x.clone() for x in parameters), *lattice)
    for value, other, reference in zip(values, inferred, expected):
        assert not value.requires_grad and not other.requires_grad
        assert torch.equal(value, reference) and torch.equal(other, reference)


def test_forward_backward_of_the_scores_is_the_loss():
    inputs, lattice = problem()
    for activation in ("relu", "tanh"):
        log_p, _, _ = forward_backward(*node_scores(*inputs, *lattice, activation=activation), *lattice[1:])
        losses = transducer_loss(*inputs, *lattice, activation=activation, reduction="none", implementation="reference")
        torch.testing.assert_close(-log_p, losses, rtol=1e-12, atol=0)


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest result."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.numel())
        return result


def test_the_logits_of_the_lattice_are_never_stored(monkeypatch):
    monkeypatch.setattr(scores, "_CPU_TILE", 2**13)
    inputs, lattice = problem([(50, 20), (40, 25)], 64, 32)
    with Largest() as largest:
        node_scores(*inputs, *lattice)
    assert largest.elements <= 2**13 < 2 * 50 * 26 * 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "gelu"}, "activation is 'gelu'; choose relu or tanh"),
        ({"bias_V": None}, "give both weight and bias"),
        ({"encoder_lengths": torch.tensor([7, 2, 5, 1])}, r"encoder_lengths\[0\] is 7; it must lie between 1 and 6"),
        ({"target_lengths": torch.tensor([3, 4, 0, 5])}, r"target_lengths\[3\] is 5"),
        ({"targets_BU": torch.full((4, 4), 4)}, r"targets\[0, 0\] is 4, which is blank"),
    ],
)
def test_a_mistake_is_named(changes, message):
    inputs, lattice = problem()
    given = dict(zip(("encoder_BTH", "predictor_BUH", "weight_VH", "bias_V"), inputs))
    given |= dict(zip(("targets_BU", "encoder_lengths", "target_lengths"), lattice))
    with pytest.raises(ValueError, match=message):
        node_scores(**{**given, **changes})


@pytest.mark.parametrize("gains", [False, True])
def test_the_type_of_the_products(gains, monkeypatch):
    monkeypatch.setattr(scores, "cpu_gains_by_bfloat16", lambda: gains)
    x = {dtype: torch.zeros(1, dtype=dtype) for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}
    bfloat16 = torch.bfloat16 if gains else torch.float32
    assert scores.product_type(x[torch.float32], x[torch.float32]) == torch.float32
    assert scores.product_type(x[torch.float32], x[torch.float64]) == torch.float64
    assert scores.product_type(x[torch.bfloat16], x[torch.float32]) == torch.float32
    assert scores.product_type(x[torch.bfloat16], x[torch.bfloat16]) == bfloat16
    assert scores.product_type(x[torch.bfloat16], None) == bfloat16
    assert scores.product_type(x[torch.float16], None) == torch.float32  # no CPU gains by float16
    with torch.autocast("cpu", torch.bfloat16):
        assert scores.product_type(x[torch.float32], x[torch.float32]) == bfloat16


def test_torch_computes_the_operations_on_a_cpu():
    cpu = torch.device("cpu")
    assert scores.choose_operations("auto", cpu) is scores.choose_operations("fused", cpu) is tile


def test_the_example_in_the_docstring_runs():
    results = doctest.testmod(scores)
    assert results.attempted > 0 and results.failed == 0
