"""Gaussian noise on the weights while a gradient is computed, which makes a network prefer simple weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def noisy(parameters: Sequence[Tensor], deviation: float, seed: int) -> Iterator[None]:
    """Add noise of this standard deviation to all parameters, and restore them exactly afterwards.

    The noise depends on the seed alone, so that all processes of a run can draw the same. See Jim, Giles and Horne
    (1996), and Graves (2011), "Practical variational inference for neural networks".
    """
    if not deviation:
        yield
        return
    clean = [parameter.detach().clone() for parameter in parameters]
    generator = torch.Generator(parameters[0].device).manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            noise = torch.randn(parameter.shape, generator=generator, device=parameter.device, dtype=parameter.dtype)
            parameter.add_(noise, alpha=deviation)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, clean):
                parameter.copy_(value)
