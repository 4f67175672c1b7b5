"""The forward-backward algorithm against the sum over all alignments, and on lattices that strain floating point."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt.loss.lattice import forward_backward, skew, unskew


def scores(batch, frames, width, seed, scale=3.0):
    rng = np.random.default_rng(seed)
    return (torch.from_numpy(-scale * rng.random((batch, frames, width))) for _ in range(2))


@given(frames=st.integers(1, 5), labels=st.integers(0, 5), seed=st.integers(0, 999))
@settings(max_examples=40)
def test_sums_over_all_alignments(brute_force, frames, labels, seed):
    blank, label = scores(1, frames, labels + 1, seed)
    log_p, g_blank, g_label = forward_backward(blank, label, torch.tensor([frames]), torch.tensor([labels]))
    expected = brute_force(blank[0].numpy(), label[0].numpy(), frames, labels)
    for value, reference in zip((log_p, g_blank, g_label), expected):
        np.testing.assert_allclose(value[0].numpy(), reference, rtol=1e-12, atol=1e-14)


def test_an_utterance_does_not_see_its_batch_or_its_padding(brute_force):
    sizes = [(1, 0), (6, 3), (2, 4), (4, 0), (1, 4), (6, 4), (3, 1)]
    blank, label = scores(len(sizes), 6, 5, 1)
    for i, (frames, labels) in enumerate(sizes):
        for x in (blank, label):
            x[i, frames:] = torch.nan
            x[i, :, labels + 1 :] = torch.inf
        label[i, :, labels] = torch.nan  # after the last symbol
    frames, labels = torch.tensor(sizes).T
    log_p, g_blank, g_label = forward_backward(blank, label, frames, labels)
    for i, (t, u) in enumerate(sizes):
        expected = brute_force(blank[i, :t, : u + 1].numpy(), label[i, :t, : u + 1].nan_to_num().numpy(), t, u)
        np.testing.assert_allclose(log_p[i].item(), expected[0], rtol=1e-12)
        for value, reference in zip((g_blank, g_label), expected[1:]):
            np.testing.assert_allclose(value[i, :t, : u + 1].numpy(), reference, rtol=1e-12, atol=1e-14)
            assert value[i, t:].abs().sum() == 0 and value[i, :, u + 1 :].abs().sum() == 0


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_long_lattices_and_large_scores_stay_exact(dtype, scale):
    frames, labels = 3000, 600
    blank, label = (x.to(dtype) for x in scores(1, frames, labels + 1, 2, scale))
    log_p, g_blank, g_label = forward_backward(blank, label, torch.tensor([frames]), torch.tensor([labels]))
    assert log_p.dtype == g_blank.dtype == dtype
    assert -(frames + labels) * scale < log_p.item() < 0
    # Every alignment takes one blank at each frame and emits each label once.
    np.testing.assert_allclose(g_blank.double().sum(2).numpy(), 1, atol=1e-6)
    np.testing.assert_allclose(g_label.double().sum(1)[0, :labels].numpy(), 1, atol=1e-6)
    assert g_label[0, :, labels].sum() == 0


def test_the_best_path_dominates_when_scores_are_huge():
    """With such differences between nodes, the sum is its largest term, which dynamic programming finds."""
    blank, label = scores(1, 40, 13, 3, 1e6)
    log_p, g_blank, g_label = forward_backward(blank, label, torch.tensor([40]), torch.tensor([12]))
    best = np.full((41, 14), -np.inf)
    best[0, 0] = 0
    for t in range(40):
        for u in range(13):
            best[t, u + 1] = max(best[t, u + 1], best[t, u] + label[0, t, u].item() if u < 12 else -np.inf)
            best[t + 1, u] = max(best[t + 1, u], best[t, u] + blank[0, t, u].item())
    np.testing.assert_allclose(log_p.item(), best[40, 12], rtol=1e-12)
    assert set(torch.cat([g_blank, g_label]).round(decimals=6).unique().tolist()) == {0.0, 1.0}


def test_an_impossible_utterance_leaves_the_others_alone():
    blank, label = scores(4, 5, 4, 4)
    frames, labels = torch.tensor([5, 5, 5, 5]), torch.tensor([3, 3, 3, 3])
    alone = forward_backward(blank[3:], label[3:], frames[3:], labels[3:])
    blank[0, 4, 3] = -torch.inf  # the last blank of every alignment
    label[1, :, 1] = -torch.inf
    blank[2, 2, 2] = torch.nan
    log_p, g_blank, g_label = forward_backward(blank, label, frames, labels)
    assert log_p[:2].tolist() == [-np.inf, -np.inf] and torch.isnan(log_p[2])
    assert g_blank[:3].abs().sum() == 0 and g_label[:3].abs().sum() == 0
    for value, reference in zip((log_p, g_blank, g_label), alone):
        assert torch.equal(value[3:], reference)


def test_the_arguments_are_left_unchanged():
    blank, label = scores(2, 4, 3, 5)
    copies = blank.clone(), label.clone()
    forward_backward(blank, label, torch.tensor([2, 4]), torch.tensor([2, 1]))
    assert torch.equal(blank, copies[0]) and torch.equal(label, copies[1])


@given(batch=st.integers(1, 3), frames=st.integers(1, 7), width=st.integers(1, 7))
@settings(max_examples=30)
def test_skew_moves_each_diagonal_into_a_row(batch, frames, width):
    x = torch.arange(1.0, batch * frames * width + 1).reshape(batch, frames, width)
    skewed = skew(x, -1.0)
    assert skewed.shape == (frames + width - 1, batch, width)
    for d in range(frames + width - 1):
        for u in range(width):
            expected = x[:, d - u, u] if 0 <= d - u < frames else torch.full((batch,), -1.0)
            assert torch.equal(skewed[d, :, u], expected)
    assert torch.equal(unskew(skewed, frames), x)
