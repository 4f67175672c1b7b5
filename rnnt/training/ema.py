"""Exponential moving averages of a model's weights. They are evaluated and saved as the best model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Averages of the parameters and floating-point buffers of `model`. They start at the present values.

    `update` moves each average by (1 - decay) towards its weight. Averages are float32, or float64 if the weight is, on
    the device that the model has now. Buffers of integers, such as counters, are not averaged.

    decay: in [0, 1); 0 keeps no averages, and `swapped` leaves the model as it is. warmup: use the decay
    min(decay, (1 + n) / (10 + n)) at update n = 1, 2, ..., so that a short run forgets its initial weights. Raises
    ValueError for another decay.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: bool = False) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of the moving average is {decay}: it must be in [0, 1); 0 turns it off")
        self.model = model
        self.decay = decay
        self.warmup = warmup
        self.updates = 0
        self.averages: dict[str, Tensor] = {}
        if decay:
            self.averages = {
                name: weight.detach().to(torch.promote_types(weight.dtype, torch.float32), copy=True)
                for name, weight in self._weights().items()
            }

    def _weights(self) -> dict[str, Tensor]:
        # By name and anew each time: moving a module to a device replaces its buffers by other tensors.
        named = [*self.model.named_parameters(), *self.model.named_buffers()]
        return {name: weight for name, weight in named if weight.is_floating_point()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the present weights. Call it after each step of the optimizer."""
        self.updates += 1
        if not self.decay:
            return
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        weights = self._weights()
        averages = list(self.averages.values())
        current = [weights[name].to(average.dtype) for name, average in self.averages.items()]
        torch._foreach_lerp_(averages, current, 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[nn.Module]:
        """Put the averages into the model during a `with`. After it the weights are back, bit for bit."""
        weights = self._weights()
        with torch.no_grad():
            backup = {name: weights[name].clone() for name in self.averages}
            for name, average in self.averages.items():
                weights[name].copy_(average)
        try:
            yield self.model
        finally:
            with torch.no_grad():
                for name, weight in backup.items():
                    weights[name].copy_(weight)

    def state_dict(self) -> dict:
        """Return `updates`, and `averages` by the names of the weights. The tensors are not copied."""
        return {"updates": self.updates, "averages": dict(self.averages)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping) -> None:
        """Take over a result of `state_dict`. Raises ValueError if its names or shapes are those of another model."""
        given = {name: tuple(average.shape) for name, average in state["averages"].items()}
        own = {name: tuple(average.shape) for name, average in self.averages.items()}
        if given != own:
            odd = sorted(name for name in given.keys() | own.keys() if given.get(name) != own.get(name))
            raise ValueError(
                f"the saved moving average does not fit this model or this setting of its decay "
                f"({len(odd)} weights differ, first {odd[0]}): resume with the settings the run was started with"
            )
        for name, average in state["averages"].items():
            self.averages[name].copy_(average)
        self.updates = int(state["updates"])
