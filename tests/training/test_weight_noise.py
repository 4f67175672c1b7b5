"""Noise on the weights: its size, its seed, and that it leaves no trace."""

import pytest
import torch

from rnnt.training.weight_noise import noisy


def weights():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((300, 200), (7,), ())]


def seen(deviation, seed):
    parameters = weights()
    with noisy(parameters, deviation, seed):
        return [p.detach() - q.detach() for p, q in zip(parameters, weights())]


def test_the_noise_is_gaussian_with_the_deviation():
    noise = seen(0.075, 1)[0].flatten()
    assert noise.mean().abs() < 0.002 and noise.std().item() == pytest.approx(0.075, rel=0.01)
    assert (noise.abs() > 0.075).float().mean().item() == pytest.approx(0.317, abs=0.01)


def test_it_depends_on_the_seed_alone():
    assert all(map(torch.equal, seen(0.1, 1), seen(0.1, 1)))
    assert not torch.equal(seen(0.1, 1)[0], seen(0.1, 2)[0])
    torch.manual_seed(5)
    before = torch.get_rng_state()
    seen(0.1, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_weights_are_restored_bit_for_bit_even_after_an_error():
    parameters = weights()
    with noisy(parameters, 0.5, 1):
        sum((p**2).sum() for p in parameters).backward()
        at = [p.detach().clone() for p in parameters]
    assert all(torch.equal(p, q) for p, q in zip(parameters, weights()))
    assert all(torch.equal(p.grad, 2 * x) for p, x in zip(parameters, at))  # the gradient is that of the noisy weights
    with pytest.raises(KeyError), noisy(parameters, 0.5, 1):
        raise KeyError
    assert all(torch.equal(p, q) for p, q in zip(parameters, weights()))


def test_without_a_deviation_nothing_happens():
    assert all(not x.any() for x in seen(0.0, 1))
