"""LAMB, AdamW and steepest descent. All clip the global gradient norm inside the step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

# On a CPU, update each tensor in slices of this many elements, so that a slice stays in the cache for the whole step.
# On other devices, apply each operation to all tensors at once.
_SLICE = {"cpu": 2**18}


def global_norm(params: Iterable[Tensor]) -> Tensor:
    """Return the L2 norm of the gradients of all `params` together, as a 0-dim tensor on their device.

    Parameters without a gradient count as zero. Does not wait for the device.
    """
    grads = [p.grad for p in params if p.grad is not None]
    if not grads:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))


class Lamb(torch.optim.Optimizer):
    """LAMB (You et al. 2019, arXiv 1904.00962) as MLPerf's RNN-T uses it.

    Step k, for every tensor p with gradient g and the global norm `norm` over all groups:

        g      = g / max(1, norm / max_grad_norm)
        m, v   = lerp(g, m, beta1), lerp(g^2, v, beta2)
        update = (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps) + weight_decay * p
        p      = p - lr * ratio * update,   ratio = |p| / |update|, 1 if either is zero

    The trust ratio applies to every tensor, also in groups without weight decay. This is apex's `use_nvlamb=True`;
    apex's default skips groups without weight decay, of which MLPerf's settings have none. `max_grad_norm=None` does
    not clip. The gradients themselves are not changed, and parameters without one are skipped. All parameters are on
    one device, and a step does not wait for it.

    moments: the names of the tensors in a parameter's state; `step` counts its steps.
    """

    moments = ("moment", "square")

    def __init__(
        self,
        params: Iterable,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-9,
        weight_decay: float = 1e-3,
        max_grad_norm: float | None = 1.0,
    ) -> None:
        _check(lr, betas, eps, weight_decay, max_grad_norm)
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})
        self.max_grad_norm = max_grad_norm

    @torch.no_grad()
    def step(self, grad_norm: Tensor | None = None) -> None:
        """Update all parameters once.

        grad_norm: the global gradient norm, if the caller has computed it already; None computes it here.
        """
        divisor = _divisor([p for group in self.param_groups for p in group["params"]], grad_norm, self.max_grad_norm)
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._step_group(group, params, divisor)

    def _step_group(self, group: dict, params: list[Tensor], divisor: Tensor | None) -> None:
        states = [_state_of(self, p) for p in params]
        moments, squares = ([state[name] for state in states] for name in ("moment", "square"))
        tensors = list(zip(params, [p.grad for p in params], moments, squares))
        steps = [state["step"] for state in states]
        size = _SLICE.get(params[0].device.type)
        if size is None:
            updates = self._directions(group, divisor, *zip(*tensors), steps)
            self._move(group, [[p] for p in params], [[update] for update in updates])
            return
        for together, step in zip(tensors, steps):
            whole = not all(x.is_contiguous() for x in together)
            slices = [[x] if whole else x.view(-1).split(size) for x in together]
            updates = [self._directions(group, divisor, *([x] for x in xs), [step])[0] for xs in zip(*slices)]
            self._move(group, [slices[0]], [updates])

    def _directions(
        self, group: dict, divisor: Tensor | None, params, grads, moments, squares, steps: list[int]
    ) -> list[Tensor]:
        """Return the updates, before lr and trust ratio. Changes the moments and squares."""
        beta1, beta2 = group["betas"]
        if divisor is not None:
            grads = torch._foreach_div(grads, divisor)
        torch._foreach_lerp_(moments, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)

        # The update is m_hat / (sqrt(v_hat) + eps). The bias correction of m is applied to the denominator.
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, [(1 - beta2**step) ** 0.5 for step in steps])
        torch._foreach_add_(denominators, group["eps"])
        torch._foreach_mul_(denominators, [1 - beta1**step for step in steps])
        updates = torch._foreach_div(moments, denominators)
        if group["weight_decay"] != 0:
            torch._foreach_add_(updates, params, alpha=group["weight_decay"])
        return updates

    def _move(self, group: dict, params: list[Sequence[Tensor]], updates: list[Sequence[Tensor]]) -> None:
        """Change the parameters by lr times trust ratio times update. Each parameter is given as a list of slices."""
        param_norms, update_norms = _norms(params), _norms(updates)
        ratios = torch.where((param_norms > 0) & (update_norms > 0), param_norms / update_norms, 1.0)
        factors = [ratio for slices, ratio in zip(params, ratios.unbind()) for _ in slices]
        torch._foreach_addcmul_(_flat(params), _flat(updates), factors, -group["lr"])


class ClippedAdamW(torch.optim.AdamW):
    """torch's AdamW, after dividing the gradients in place by max(1, norm / max_grad_norm).

    `max_grad_norm=None` does not clip. In contrast to torch's clip_grad_norm_, the divisor has no 1e-6 added.
    moments: the names of the tensors in a parameter's state; `step` counts its steps.
    """

    moments = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        max_grad_norm: float | None = 1.0,
    ) -> None:
        _check(lr, betas, eps, weight_decay, max_grad_norm)
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay, fused=True)
        self.max_grad_norm = max_grad_norm

    @torch.no_grad()
    def step(self, grad_norm: Tensor | None = None) -> None:
        """Update all parameters once.

        grad_norm: the global gradient norm, if the caller has computed it already; None computes it here.
        """
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        divisor = _divisor(params, grad_norm, self.max_grad_norm)
        if params and divisor is not None:
            torch._foreach_div_([p.grad for p in params], divisor)
        super().step()


class ClippedSgd(torch.optim.Optimizer):
    """Steepest descent with momentum: change = momentum change - lr g, p = p + change.

    g is the gradient divided by max(1, norm / max_grad_norm), plus weight_decay times p. A new learning rate does not
    scale the changes that were made before it. `max_grad_norm=None` does not clip.
    moments: the names of the tensors in a parameter's state; `step` counts its steps.
    """

    moments = ("change",)

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}: it must be in [0, 1)")
        _check(lr, (0, 0), 0, weight_decay, max_grad_norm)
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.max_grad_norm = max_grad_norm

    @torch.no_grad()
    def step(self, grad_norm: Tensor | None = None) -> None:
        """Update all parameters once.

        grad_norm: the global gradient norm, if the caller has computed it already; None computes it here.
        """
        divisor = _divisor([p for group in self.param_groups for p in group["params"]], grad_norm, self.max_grad_norm)
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            if divisor is not None:
                grads = torch._foreach_div(grads, divisor)
            if group["weight_decay"] != 0:
                grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
            changes = [_state_of(self, p)["change"] for p in params]
            torch._foreach_mul_(changes, group["momentum"])
            torch._foreach_add_(changes, grads, alpha=-group["lr"])
            torch._foreach_add_(params, changes)


def make_optimizer(
    params: Iterable,
    name: str,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-9,
    weight_decay: float = 1e-3,
    max_grad_norm: float | None = 1.0,
    momentum: float = 0.9,
) -> Lamb | ClippedAdamW | ClippedSgd:
    """Return the optimizer called `name`, "lamb", "adamw" or "sgd", over `params`.

    betas and eps are for the first two, momentum for the last.

    The weight decay applies to every parameter, as in MLPerf. `max_grad_norm=None` does not clip.
    Raises ValueError for an unknown name or a setting out of range.
    """
    kinds = {"lamb": Lamb, "adamw": ClippedAdamW, "sgd": ClippedSgd}
    if name not in kinds:
        raise ValueError(f"unknown optimizer {name!r}: use one of {', '.join(sorted(kinds))}")
    if name == "sgd":
        return ClippedSgd(params, lr, momentum, weight_decay, max_grad_norm)
    return kinds[name](params, lr, betas=betas, eps=eps, weight_decay=weight_decay, max_grad_norm=max_grad_norm)


def _state_of(optimizer: Lamb | ClippedSgd, p: Tensor) -> dict:
    """The state of a parameter, with this step counted. It begins with moments of zero."""
    state = optimizer.state[p]
    if not state:
        state.update(step=0, **{name: torch.zeros_like(p) for name in optimizer.moments})
    state["step"] += 1
    return state


def _divisor(params: list[Tensor], grad_norm: Tensor | None, max_grad_norm: float | None) -> Tensor | None:
    """The divisor of the gradients that limits their global norm to `max_grad_norm`, or None for no clipping."""
    if max_grad_norm is None:
        return None
    norm = global_norm(params) if grad_norm is None else grad_norm
    return (norm / max_grad_norm).clamp(min=1.0)


def _norms(tensors: list[Sequence[Tensor]]) -> Tensor:
    """The L2 norm of each tensor, as one tensor. Each tensor is given as a list of slices."""
    norms = iter(torch._foreach_norm(_flat(tensors)))
    by_tensor = [[next(norms) for _ in slices] for slices in tensors]
    return torch.stack([x[0] if len(x) == 1 else torch.linalg.vector_norm(torch.stack(x)) for x in by_tensor])


def _flat(tensors: list[Sequence[Tensor]]) -> list[Tensor]:
    return [x for slices in tensors for x in slices]


def _check(lr: float, betas: tuple[float, float], eps: float, weight_decay: float, max_grad_norm: float | None) -> None:
    if not lr >= 0:
        raise ValueError(f"lr is {lr}: it must be 0 or more")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas are {tuple(betas)}: they must be two numbers in [0, 1)")
    if not eps >= 0:
        raise ValueError(f"eps is {eps}: it must be 0 or more")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay is {weight_decay}: it must be 0 or more")
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm is {max_grad_norm}: it must be above 0, or null for no clipping")
