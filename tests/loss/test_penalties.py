"""Star and bypass arcs against the sum over all alignments, one by one, and against finite differences, in float64."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt import transducer_loss
from rnnt.loss import Penalties, scores
from rnnt.loss.lattice import forward_backward
from rnnt.loss.penalties import sum_alignments

INF = math.inf
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["reference", "fused"])
PRICE = st.one_of(st.just(INF), st.just(0.0), st.floats(0.01, 6))


def every_alignment(log_probs, targets, penalties):
    """-log of the sum over all alignments of one utterance, arc by arc, from log-probabilities (T, U+1, V)."""
    frames, labels = log_probs.shape[0], len(targets)
    total = []
    for places in itertools.combinations(range(frames - 1 + labels), labels):
        for added in itertools.product([False, True], repeat=frames + labels):
            t = u = 0
            score = torch.zeros((), dtype=torch.float64)
            for step, is_added in enumerate(added):
                node = log_probs[t, u]
                if step in places:
                    score = score + (-penalties.bypass if is_added else node[targets[u]])
                    u += 1
                else:
                    other = [v for v in range(len(node) - 1) if targets[u : u + 1] != [v]]
                    score = score + (node[other].logsumexp(0) - penalties.star if is_added else node[-1])
                    t += 1
            if score > -INF:
                total.append(score)
    return -torch.logsumexp(torch.stack(total), 0)


def problem(sizes, seed=0, vocabulary=4, width=3):
    generator = torch.Generator().manual_seed(seed)
    frames, labels = torch.tensor(sizes).T
    shapes = (len(sizes), int(frames.max()), width), (len(sizes), int(labels.max()) + 1, width), (vocabulary, width)
    inputs = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in (*shapes, (vocabulary,))]
    targets = torch.randint(0, vocabulary - 1, (len(sizes), int(labels.max())), generator=generator)
    return [x.requires_grad_() for x in inputs], (targets, frames, labels)


def logits_of(inputs):
    encoder, predictor, weight, bias = inputs
    return torch.tanh(encoder[:, :, None] + predictor[:, None]) @ weight.T + bias


def losses_of(inputs, batch, penalties, implementation, **options):
    options = {"activation": "tanh", "tolerance": 0.0, "reduction": "none", **options}
    return transducer_loss(*inputs, *batch, implementation=implementation, penalties=penalties, **options)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=3),
    star=PRICE,
    bypass=PRICE,
    seed=st.integers(0, 99),
    implementation=st.sampled_from(["reference", "fused"]),
)
@settings(max_examples=30, deadline=None)
def test_sums_over_all_alignments(sizes, star, bypass, seed, implementation):
    inputs, (targets, frames, labels) = problem(sizes, seed)
    penalties, weights = Penalties(star, bypass), torch.linspace(0.5, -2, len(sizes), dtype=torch.float64)
    log_probs = logits_of(inputs).log_softmax(-1)
    expected = torch.stack(
        [every_alignment(log_probs[i, :t], targets[i, :u].tolist(), penalties) for i, (t, u) in enumerate(sizes)]
    )
    losses = losses_of(inputs, (targets, frames, labels), penalties, implementation)
    torch.testing.assert_close(losses, expected, rtol=1e-11, atol=1e-12)
    grads = torch.autograd.grad(losses @ weights, inputs)
    for value, reference in zip(grads, torch.autograd.grad(expected @ weights, inputs, materialize_grads=True)):
        torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-11)


@IMPLEMENTATIONS
@pytest.mark.parametrize("penalties", [Penalties(0.7, 2.0), Penalties(INF, 1.0), Penalties(2.0, INF)])
def test_finite_differences(implementation, penalties):
    inputs, batch = problem([(5, 3), (2, 4), (4, 0), (1, 1)])
    weights = torch.tensor([0.3, -1.7, 2.0, 0.0], dtype=torch.float64)

    def loss(*inputs):
        return losses_of(inputs, batch, penalties, implementation) * weights

    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-7)


@IMPLEMENTATIONS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_infinite_prices_change_no_bit(implementation, dtype):
    inputs, batch = problem([(6, 3), (2, 4), (5, 0), (1, 1)])
    inputs = [x.detach().to(dtype).requires_grad_() for x in inputs]
    exact, partial = (losses_of(inputs, batch, each, implementation) for each in (None, Penalties(INF, INF)))
    assert torch.equal(exact, partial)
    for one, other in zip(torch.autograd.grad(exact.sum(), inputs), torch.autograd.grad(partial.sum(), inputs)):
        assert torch.equal(one, other)


def test_the_fused_loss_equals_the_reference_with_small_tiles_dropout_and_fastemit(monkeypatch):
    monkeypatch.setattr(scores, "_CPU_TILE", 97)
    inputs, batch = problem([(9, 5), (7, 6), (4, 0)], vocabulary=7)
    found = []
    for implementation in ("reference", "fused"):
        torch.manual_seed(0)
        options = {"dropout": 0.3, "fastemit": 0.2, "activation": "relu"}
        losses = losses_of(inputs, batch, Penalties(1.0, 3.0), implementation, **options)
        found.append((losses, *torch.autograd.grad(losses.sum(), inputs)))
    for value, reference in zip(*found):
        torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-12)


@IMPLEMENTATIONS
def test_padding_and_other_utterances_do_not_matter(implementation):
    sizes, penalties = [(6, 3), (2, 4), (5, 0), (1, 1)], Penalties(0.5, 1.5)
    inputs, (targets, frames, labels) = problem(sizes)
    losses = losses_of(inputs, (targets, frames, labels), penalties, implementation)
    reference = torch.autograd.grad(losses[1:].sum(), inputs)
    broken = [x.detach().clone() for x in inputs]
    for i, (t, u) in enumerate(sizes):
        broken[0][i, t:], broken[1][i, u + 1 :], targets[i, u:] = torch.nan, torch.inf, 99
    broken[0][0, 1] = torch.nan  # the first utterance has no loss
    broken = [x.requires_grad_() for x in broken]
    others = losses_of(broken, (targets, frames, labels), penalties, implementation)
    assert others[0] == INF
    torch.testing.assert_close(others[1:], losses[1:], rtol=1e-12, atol=0)
    for value, other in zip(torch.autograd.grad(others.sum(), broken), reference):
        torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-13)


def test_a_symbol_of_probability_zero_can_only_be_passed_over():
    blank = torch.zeros(1, 3, 2, dtype=torch.float64)
    label = torch.full_like(blank, -INF)
    lattices = SimpleNamespace(encoder_lengths=torch.tensor([3]), target_lengths=torch.tensor([1]))
    log_p, g_blank, g_label = sum_alignments(forward_backward, blank, label, lattices, 0.0, Penalties(INF, 2.0))
    assert log_p.item() == pytest.approx(math.log(3) - 2)  # at one of three frames
    assert g_label.abs().sum() == 0 and g_blank.sum().item() == pytest.approx(3)
    log_p, *counts = sum_alignments(forward_backward, blank, label, lattices, 0.0, Penalties(INF, INF))
    assert log_p.item() == -INF and not any(x.any() for x in counts)


@IMPLEMENTATIONS
def test_a_cheaper_arc_never_raises_the_loss(implementation):
    inputs, batch = problem([(6, 3), (4, 4)])
    prices = [INF, 5.0, 1.0, 0.0]
    grid = [
        [losses_of(inputs, batch, Penalties(star, bypass), implementation).detach() for bypass in prices]
        for star in prices
    ]
    for i, j in itertools.product(range(3), range(4)):
        assert (grid[i + 1][j] < grid[i][j]).all() and (grid[j][i + 1] < grid[j][i]).all()


@pytest.mark.parametrize(
    ("transcript", "price"),
    [
        ([0, 1, 2], 0.0),
        ([0, 3, 1, 2], 9 - math.log(2)),  # a bypass at frame 2 or 3
        ([0, 2], 4.0),  # a star at frame 3
        ([0, 3, 2], 9 + 4 - math.log(4)),  # both, the bypass at frame 2, 3, 4 or 5
        ([1, 2], 4.0),
        ([0, 1, 2, 3], 9.0),  # a bypass at frame 6
    ],
)
def test_wrong_symbols_cost_their_price(transcript, price):
    """A model is certain of what was said: the symbols 0, 1 and 2 in frames 1, 3 and 5 of 7."""
    said = {1: 0, 3: 1, 5: 2}
    blank, label = torch.full((2, 1, 7, len(transcript) + 1), -60.0, dtype=torch.float64)
    for t, u in itertools.product(range(7), range(len(transcript) + 1)):
        emits = t in said and transcript[u - 1 : u] != [said[t]]  # unless it is the last symbol that was emitted
        if not emits:
            blank[0, t, u] = -1e-12
        elif transcript[u : u + 1] == [said[t]]:
            label[0, t, u] = -1e-12
    lattices = SimpleNamespace(encoder_lengths=torch.tensor([7]), target_lengths=torch.tensor([len(transcript)]))
    log_p, *_ = sum_alignments(forward_backward, blank, label, lattices, 0.0, Penalties(4.0, 9.0))
    assert -log_p.item() == pytest.approx(price, abs=0.15)


@IMPLEMENTATIONS
@pytest.mark.parametrize("scale", [1, 30])
def test_without_bypass_the_sum_is_a_probability(implementation, scale):
    inputs, batch = problem([(9, 5), (7, 6), (4, 0)], vocabulary=3)
    inputs = [*inputs[:2], *(scale * x for x in inputs[2:])]
    assert (losses_of(inputs, batch, Penalties(0.0, INF), implementation) > -1e-12).all()


@pytest.mark.parametrize("penalties", [(-0.1, 1.0), (1.0, -1.0), (math.nan, 1.0)])
def test_negative_prices_are_refused(penalties):
    with pytest.raises(ValueError, match=r"the penalty (star|bypass) is .*; it must be at least 0"):
        Penalties(*penalties)
