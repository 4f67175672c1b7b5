"""rnnt_loss against a sum over all alignments, autograd through the recursion, and inputs that must not matter."""

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt import rnnt_loss
from rnnt.loss import dense


def plain_loss(log_probs, targets, blank):
    """The recursion of DESIGN section 6, node by node, for log_probs (T, U+1, V) and targets (U,)."""
    frames, width, _ = log_probs.shape
    alpha = {(0, 0): log_probs.new_zeros(())}
    for t in range(frames):
        for u in range(width):
            terms = []
            if t:
                terms.append(alpha[t - 1, u] + log_probs[t - 1, u, blank])
            if u:
                terms.append(alpha[t, u - 1] + log_probs[t, u - 1, targets[u - 1]])
            if terms:
                alpha[t, u] = torch.logsumexp(torch.stack(terms), 0)
    return -(alpha[frames - 1, width - 1] + log_probs[-1, -1, blank])


def plain_losses(logits, targets, frames, labels, blank, normalize=True):
    losses = []
    for i, (t, u) in enumerate(zip(frames.tolist(), labels.tolist())):
        valid = logits[i, :t, : u + 1]
        losses.append(plain_loss(valid.log_softmax(-1) if normalize else valid, targets[i, :u], blank))
    return torch.stack(losses)


def problem(sizes, vocabulary, seed=0, blank=None, scale=2.0):
    """Logits (float64), targets and lengths for utterances of the given (T, U)."""
    rng = np.random.default_rng(seed)
    blank = vocabulary - 1 if blank is None else blank
    frames, labels = torch.tensor(sizes).T
    shape = (len(sizes), int(frames.max()), int(labels.max()) + 1, vocabulary)
    logits = torch.from_numpy(scale * rng.standard_normal(shape)).requires_grad_()
    symbols = [v for v in range(vocabulary) if v != blank]
    targets = torch.from_numpy(rng.choice(symbols, (len(sizes), shape[2] - 1)).astype(np.int64))
    return logits, targets, frames, labels


def gradient(loss, x):
    (grad,) = torch.autograd.grad(loss.sum(), x)
    return grad


@given(frames=st.integers(1, 4), labels=st.integers(0, 4), vocabulary=st.integers(2, 4), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_equals_the_sum_over_all_alignments(brute_force, frames, labels, vocabulary, seed):
    logits, targets, t, u = problem([(frames, labels)], vocabulary, seed)
    log_probs = logits.detach()[0].log_softmax(-1).numpy()
    label = np.take_along_axis(log_probs, np.append(targets[0].numpy(), 0)[None, :, None].repeat(frames, 0), 2)[..., 0]
    expected = brute_force(log_probs[..., -1], label, frames, labels)[0]
    np.testing.assert_allclose(rnnt_loss(logits, targets, t, u).item(), -expected, rtol=1e-12)


SIZES = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 8)), min_size=1, max_size=4)


@given(sizes=SIZES, vocabulary=st.integers(2, 6), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=40)
def test_equals_autograd_through_the_recursion(sizes, vocabulary, seed, data):
    blank = data.draw(st.integers(0, vocabulary - 1))
    logits, targets, frames, labels = problem(sizes, vocabulary, seed, blank)
    losses = rnnt_loss(logits, targets, frames, labels, blank, reduction="none")
    expected = plain_losses(logits, targets, frames, labels, blank)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient(losses, logits), gradient(expected, logits), rtol=1e-10, atol=1e-12)
    negative = rnnt_loss(logits, targets, frames, labels, blank - vocabulary, reduction="none")
    assert torch.equal(negative, losses)


@pytest.mark.parametrize("sizes", [[(30, 12)], [(25, 40), (40, 3), (1, 40)]])
def test_larger_lattices_in_float32(sizes):
    logits, targets, frames, labels = problem(sizes, 11, scale=4.0)
    expected = plain_losses(logits, targets, frames, labels, 10)
    reference = gradient(expected, logits)
    narrow = logits.detach().float().requires_grad_()
    losses = rnnt_loss(narrow, targets.int(), frames.int(), labels.int(), reduction="none")
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient(losses, narrow).double(), reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-2), (torch.float16, 1e-3)])
def test_half_precision_logits(dtype, tolerance):
    logits, targets, frames, labels = problem([(30, 12), (18, 7)], 11)
    half = logits.detach().to(dtype).requires_grad_()
    wide = half.detach().double().requires_grad_()
    losses = rnnt_loss(half, targets, frames, labels, reduction="none")
    expected = plain_losses(wide, targets, frames, labels, 10)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-5)
    difference = gradient(losses, half).double() - gradient(expected, wide)
    assert difference.norm() < tolerance * gradient(rnnt_loss(wide, targets, frames, labels), wide).norm() * 2


def test_finite_differences():
    logits, targets, frames, labels = problem([(3, 2), (2, 3), (4, 0)], 3)
    weights = torch.tensor([0.3, -1.7, 2.0], dtype=torch.float64)

    def weighted(x):
        return rnnt_loss(x, targets, frames, labels, reduction="none") @ weights

    assert torch.autograd.gradcheck(weighted, (logits,), eps=1e-6, atol=1e-7)


def test_padding_is_not_read():
    sizes = [(5, 3), (2, 0), (7, 4), (1, 2)]
    logits, targets, frames, labels = problem(sizes, 5)
    expected = rnnt_loss(logits, targets, frames, labels, reduction="none")
    reference = gradient(expected, logits)
    poisoned = logits.detach().clone()
    for i, (t, u) in enumerate(sizes):
        poisoned[i, t:] = torch.nan
        poisoned[i, :, u + 1 :] = torch.inf
        targets[i, u:] = -(10**6)
    poisoned.requires_grad_()
    losses = rnnt_loss(poisoned, targets, frames, labels, reduction="none")
    assert torch.equal(losses, expected)
    assert torch.equal(gradient(losses, poisoned), reference)
    for i, (t, u) in enumerate(sizes):
        alone = rnnt_loss(logits[i : i + 1, :t, : u + 1], targets[i : i + 1, :u], frames[i : i + 1], labels[i : i + 1])
        torch.testing.assert_close(alone, expected[i], rtol=1e-12, atol=0)


def test_reductions_and_their_gradients():
    logits, targets, frames, labels = problem([(5, 3), (2, 0), (7, 4)], 5)
    losses = rnnt_loss(logits, targets, frames, labels, reduction="none")
    assert losses.shape == (3,)
    total = rnnt_loss(logits, targets, frames, labels, reduction="sum")
    mean = rnnt_loss(logits, targets, frames, labels)
    torch.testing.assert_close(total, losses.sum())
    torch.testing.assert_close(mean, losses.mean())
    torch.testing.assert_close(gradient(mean, logits) * 3, gradient(total, logits))
    with pytest.raises(ValueError, match="reduction is 'max'"):
        rnnt_loss(logits, targets, frames, labels, reduction="max")


def test_log_probabilities_instead_of_logits():
    logits, targets, frames, labels = problem([(5, 3), (2, 0), (7, 4)], 5)
    log_probs = logits.detach().log_softmax(-1).requires_grad_()
    losses = rnnt_loss(log_probs, targets, frames, labels, reduction="none", fused_log_softmax=False)
    torch.testing.assert_close(losses, rnnt_loss(logits, targets, frames, labels, reduction="none"))
    expected = plain_losses(log_probs, targets, frames, labels, 4, normalize=False)
    torch.testing.assert_close(gradient(losses, log_probs), gradient(expected, log_probs), rtol=1e-10, atol=1e-12)


def test_clamp_bounds_the_elements_of_each_utterances_gradient():
    logits, targets, frames, labels = problem([(5, 3), (2, 0)], 5)
    plain = gradient(rnnt_loss(logits, targets, frames, labels, reduction="none"), logits)
    assert plain.abs().max() > 0.05
    clamped = gradient(rnnt_loss(logits, targets, frames, labels, clamp=0.05), logits)
    torch.testing.assert_close(clamped, plain.clamp(-0.05, 0.05) / 2)  # torchaudio clamps before the reduction too


def test_an_utterance_without_a_finite_loss_gives_inf_and_no_gradient():
    logits, targets, frames, labels = problem([(5, 3), (5, 3), (5, 3), (5, 3), (5, 3)], 5)
    alone = rnnt_loss(logits[4:], targets[4:], frames[4:], labels[4:], reduction="none")
    reference = gradient(alone, logits)[4]
    broken = logits.detach().clone()
    broken[0, 2, 1, 0] = torch.nan
    broken[1, 4, 3, 4] = -torch.inf  # no last blank
    broken[2, 0, 0] = torch.inf
    broken[3] = -torch.inf
    broken.requires_grad_()
    losses = rnnt_loss(broken, targets, frames, labels, reduction="none")
    assert losses[:4].tolist() == [torch.inf] * 4
    torch.testing.assert_close(losses[4:], alone, rtol=1e-12, atol=0)
    for reduction in ("none", "sum"):
        grad = gradient(rnnt_loss(broken, targets, frames, labels, reduction=reduction), broken)
        assert grad[:4].abs().sum() == 0
        torch.testing.assert_close(grad[4], reference, rtol=1e-12, atol=1e-15)


def test_a_symbol_of_probability_zero_changes_nothing():
    logits, targets, frames, labels = problem([(4, 2)], 5)
    targets[:] = 0
    with torch.no_grad():
        logits[..., 2] = -torch.inf
    losses = rnnt_loss(logits, targets, frames, labels, reduction="none")
    expected = plain_losses(logits[..., [0, 1, 3, 4]], targets, frames, labels, 3)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=0)
    assert torch.isfinite(gradient(losses, logits)).all()


def arguments(**changes):
    logits, targets, frames, labels = problem([(5, 3), (2, 0), (7, 4)], 5)
    given = {"logits": logits, "targets": targets, "logit_lengths": frames, "target_lengths": labels}
    return {**given, **changes}


def changed(name, index, value):
    tensor = arguments()[name].clone()
    tensor[index] = value
    return {name: tensor}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (changed("logit_lengths", 1, 0), r"logit_lengths\[1\] is 0; it must lie between 1 and 7"),
        (changed("logit_lengths", 2, 8), r"logit_lengths\[2\] is 8"),
        (changed("target_lengths", 2, 5), r"target_lengths\[2\] is 5; it must lie between 0 and 4"),
        (changed("target_lengths", 0, -1), r"target_lengths\[0\] is -1"),
        (changed("targets", (2, 3), 5), r"targets\[2, 3\] is 5, which is outside 0 \.\. 4"),
        (changed("targets", (0, 2), -1), r"targets\[0, 2\] is -1"),
        (changed("targets", (2, 0), 4), r"targets\[2, 0\] is 4, which is blank"),
        ({"targets": torch.zeros(3, 3, dtype=torch.long)}, r"targets are \(3, 3\), but logits need \(3, 4\)"),
        ({"targets": torch.zeros(3, dtype=torch.long)}, r"targets must be \(B, U\), not \(3,\)"),
        ({"targets": torch.zeros(2, 4, dtype=torch.long)}, "targets is for 2 utterances, logits for 3"),
        ({"targets": torch.zeros(3, 4)}, "targets must hold integers"),
        ({"logit_lengths": torch.tensor([5, 2])}, "logit_lengths is for 2 utterances"),
        ({"logit_lengths": torch.tensor([[5], [2], [7]])}, r"logit_lengths must be \(B,\), not \(3, 1\)"),
        ({"target_lengths": torch.tensor([3.0, 0.0, 4.0])}, "target_lengths must hold integers"),
        ({"target_lengths": torch.tensor(3)}, r"target_lengths must be \(B,\), not \(\)"),
        ({"logits": torch.zeros(3, 7, 5)}, r"logits must be \(B, T, U\+1, V\)"),
        ({"blank": 5}, "blank is 5; it must lie between -5 and 4"),
        ({"blank": -6}, "blank is -6"),
    ],
)
def test_a_mistake_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        rnnt_loss(**arguments(**changes))


def test_the_example_in_the_docstring_runs():
    results = doctest.testmod(dense)
    assert results.attempted > 0 and results.failed == 0
