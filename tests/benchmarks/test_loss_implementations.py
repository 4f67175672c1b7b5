"""All implementations that the benchmark compares compute the same loss, and only those that can run are offered."""

import loss_implementations
import pytest
import torch
from loss_implementations import IMPLEMENTATIONS, NO_ERROR, dense_lattice, installed
from loss_inputs import Case, Inputs, make_inputs

import rnnt

ODD = Case("odd", ((1, 0), (6, 3), (4, 6), (5, 0), (1, 4)), 9, 16)


def in_float64(x):
    learned = [y.detach().double().requires_grad_() for y in x.learned]
    return Inputs(*learned, x.targets, x.encoder_lengths, x.target_lengths)


def stored_logits(x):
    return torch.nn.functional.linear((x.encoder[:, :, None] + x.predictor[:, None]).relu(), x.weight, x.bias)


def test_the_dense_lattice_has_the_loss_of_stored_logits_and_its_occupancies():
    x = in_float64(make_inputs(ODD, "random", torch.float32, "cpu"))
    log_p, (blank, label) = dense_lattice(x)
    losses = rnnt.rnnt_loss(stored_logits(x), x.targets, x.encoder_lengths, x.target_lengths, reduction="none")
    torch.testing.assert_close(-log_p, losses)
    g_blank, g_label = torch.autograd.grad(log_p.sum(), (blank, label))
    # Each alignment takes as many blanks as frames and as many labels as target symbols.
    torch.testing.assert_close(g_blank.sum((1, 2)), x.encoder_lengths.double())
    torch.testing.assert_close(g_label.sum((1, 2)), x.target_lengths.double())


@pytest.mark.parametrize("name", sorted(set(installed("cpu")) - NO_ERROR))
def test_implementations_have_the_loss_and_gradients_of_stored_logits(name):
    x = make_inputs(ODD, "random", torch.float32, "cpu")
    loss = IMPLEMENTATIONS[name](x)
    gradients = torch.autograd.grad(loss, x.learned)
    y = in_float64(x)
    expected = rnnt.rnnt_loss(stored_logits(y), y.targets, y.encoder_lengths, y.target_lengths, reduction="sum")
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    for found, wanted in zip(gradients, torch.autograd.grad(expected, y.learned)):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)


def test_stored_products_have_the_logits_as_their_gradient():
    x = make_inputs(ODD, "random", torch.float32, "cpu")
    loss = IMPLEMENTATIONS["stored_products"](x)
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, [x.bias])
    torch.testing.assert_close(gradient, stored_logits(x).sum((0, 1, 2)))


def test_only_implementations_that_are_installed_and_can_run_are_offered(monkeypatch):
    monkeypatch.setattr(loss_implementations, "find_spec", lambda name: None)
    assert installed("cpu") == ["fused", "reference", "dense", "stored_products"]
    assert installed("cuda") == ["fused", "triton", "reference", "dense", "stored_products"]
    monkeypatch.setattr(loss_implementations, "find_spec", lambda name: True if name in ("fast_rnnt", "nemo") else None)
    assert set(installed("cpu")) == {"fused", "reference", "dense", "stored_products", "fast_rnnt", "fast_rnnt_pruned"}
    assert "nemo_tiled" in installed("cuda")
