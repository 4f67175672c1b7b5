"""LAMB and AdamW, both with the clipping of the global gradient norm inside the step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

# Elements of a tensor that go through a whole step together on such a device, whose cache they then stay in; on any
# other all tensors go through each operation together.
_PIECE = {"cpu": 2**18}


def global_norm(params: Iterable[Tensor]) -> Tensor:
    """The L2 norm over the gradients of all `params` together, as a 0-dim tensor on their device.

    Parameters without a gradient count as zero. Nothing waits for the device.
    """
    grads = [p.grad for p in params if p.grad is not None]
    if not grads:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))


def _flat(pieces: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    return [piece for share in pieces for piece in share]


def _norms(pieces: list[Sequence[Tensor]]) -> Tensor:
    """The L2 norm of each tensor, given in one or more pieces."""
    norms = iter(torch._foreach_norm(_flat(pieces)))
    shares = [[next(norms) for _ in share] for share in pieces]
    return torch.stack([x[0] if len(x) == 1 else torch.linalg.vector_norm(torch.stack(x)) for x in shares])


class Lamb(torch.optim.Optimizer):
    """LAMB (You et al. 2019, arXiv 1904.00962) as MLPerf's RNN-T uses it.

    One step, for every tensor p with gradient g (over all groups: `norm`):

        g      = g / max(1, norm / max_grad_norm)
        m, v   = lerp(g, m, beta1), lerp(g^2, v, beta2)
        update = (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps) + weight_decay * p
        p      = p - lr * ratio * update,   ratio = |p| / |update|, 1 where either is zero

    The trust ratio applies to every tensor, also in groups without weight decay (apex: `use_nvlamb=True`; the same as
    its default where the weight decay is not zero, as in MLPerf). `max_grad_norm=None` does not clip. The gradients
    themselves are left as they are; parameters without one are skipped. All parameters lie on one device, and nothing
    waits for it. The global norm before clipping is kept in `grad_norm`, a 0-dim tensor.
    """

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
        self.grad_norm = torch.zeros(())

    @torch.no_grad()
    def step(self, closure=None, grad_norm: Tensor | None = None):
        """Updates all parameters once; returns the closure's value, if there is one.

        grad_norm: the global norm, where the caller has it already; else it is computed here.
        """
        loss = _call(closure)
        params = (p for group in self.param_groups for p in group["params"])
        self.grad_norm = global_norm(params) if grad_norm is None else grad_norm
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._step_group(group, params)
        return loss

    def _step_group(self, group: dict, params: list[Tensor]) -> None:
        states = [self._state_of(p) for p in params]
        moments, squares = ([state[name] for state in states] for name in ("moment", "square"))
        tensors = list(zip(params, [p.grad for p in params], moments, squares))
        steps = [state["step"] for state in states]
        size = _PIECE.get(params[0].device.type)
        if size is None:
            pieces = [[p] for p in params]
            updates = [[update] for update in self._directions(group, *zip(*tensors), steps)]
            self._move(group, pieces, updates)
            return
        for together, step in zip(tensors, steps):
            whole = not all(x.is_contiguous() for x in together)
            pieces = [[x] if whole else x.view(-1).split(size) for x in together]
            updates = [self._directions(group, *([x] for x in piece), [step])[0] for piece in zip(*pieces)]
            self._move(group, [pieces[0]], [updates])

    def _directions(self, group: dict, params, grads, moments, squares, steps: list[int]) -> list[Tensor]:
        """The updates, before lr and trust ratio; moves the moments and squares."""
        beta1, beta2 = group["betas"]
        if self.max_grad_norm is not None:
            grads = torch._foreach_div(grads, (self.grad_norm / self.max_grad_norm).clamp(min=1.0))
        torch._foreach_lerp_(moments, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)

        # m_hat / (sqrt(v_hat) + eps), with the bias correction of m moved into the denominator
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, [(1 - beta2**step) ** 0.5 for step in steps])
        torch._foreach_add_(denominators, group["eps"])
        torch._foreach_mul_(denominators, [1 - beta1**step for step in steps])
        updates = torch._foreach_div(moments, denominators)
        if group["weight_decay"] != 0:
            torch._foreach_add_(updates, params, alpha=group["weight_decay"])
        return updates

    def _move(self, group: dict, pieces: list[Sequence[Tensor]], updates: list[Sequence[Tensor]]) -> None:
        """Move the parameters, each given in one or more pieces."""
        param_norms, update_norms = _norms(pieces), _norms(updates)
        ratios = torch.where((param_norms > 0) & (update_norms > 0), param_norms / update_norms, 1.0)
        factors = [ratio for share, ratio in zip(pieces, ratios.unbind()) for _ in share]
        torch._foreach_addcmul_(_flat(pieces), _flat(updates), factors, -group["lr"])

    def _state_of(self, p: Tensor) -> dict:
        state = self.state[p]
        if not state:
            state.update(step=0, moment=torch.zeros_like(p), square=torch.zeros_like(p))
        state["step"] += 1
        return state


class ClippedAdamW(torch.optim.AdamW):
    """torch's AdamW, the gradients first divided, in place, by max(1, norm / max_grad_norm).

    `max_grad_norm=None` does not clip. The global norm before clipping is kept in `grad_norm`, a 0-dim tensor.
    """

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
        self.grad_norm = torch.zeros(())

    @torch.no_grad()
    def step(self, closure=None, grad_norm: Tensor | None = None):
        """Updates all parameters once; returns the closure's value, if there is one.

        grad_norm: the global norm, where the caller has it already; else it is computed here.
        """
        loss = _call(closure)
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        self.grad_norm = global_norm(params) if grad_norm is None else grad_norm
        if params and self.max_grad_norm is not None:
            torch._foreach_div_([p.grad for p in params], (self.grad_norm / self.max_grad_norm).clamp(min=1.0))
        super().step()
        return loss


def make_optimizer(
    params: Iterable,
    name: str,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-9,
    weight_decay: float = 1e-3,
    max_grad_norm: float | None = 1.0,
) -> Lamb | ClippedAdamW:
    """The optimizer called `name`, "lamb" or "adamw". The weight decay applies to every parameter, as in MLPerf.

    Raises ValueError for an unknown name or a setting out of range.
    """
    kinds = {"lamb": Lamb, "adamw": ClippedAdamW}
    if name not in kinds:
        raise ValueError(f"unknown optimizer {name!r}: use one of {', '.join(sorted(kinds))}")
    return kinds[name](params, lr, betas=betas, eps=eps, weight_decay=weight_decay, max_grad_norm=max_grad_norm)


def _call(closure):
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


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
