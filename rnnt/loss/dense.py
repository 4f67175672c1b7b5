"""The transducer loss of stored logits, called like torchaudio.functional.rnnt_loss."""

from collections.abc import Iterator

import torch
from torch.autograd.function import once_differentiable

from rnnt.loss.arguments import Lattices, check_lattices, reduce_losses
from rnnt.loss.lattice import forward_backward
from rnnt.loss.penalties import Penalties, sum_alignments

# Logits that are processed at a time: temporary copies of so many, in float32 or float64, exist at once.
_CPU_SLICE = 2**19
_GPU_SLICE = 2**26


class DenseLoss(torch.autograd.Function):
    """Losses (B,) of logits (B, T, U+1, V), in float32 or float64.

    Keeps the logits and three numbers for each node. The softmax exists for one slice of frames at a time. The other
    arguments are those of `rnnt_loss`; `normalize` is its `fused_log_softmax`, `overwrite` its `overwrite_logits`.
    penalties: those of `transducer_loss`.
    """

    @staticmethod
    def forward(
        ctx,
        logits,
        lattices: Lattices,
        clamp: float,
        normalize: bool,
        fastemit: float,
        overwrite: bool,
        penalties: Penalties | None,
    ):
        """Return the losses, inf if not finite."""
        wide = torch.promote_types(logits.dtype, torch.float32)
        blank_BTU = torch.zeros(logits.shape[:3], dtype=wide, device=logits.device)
        label_BTU, norm_BTU = torch.zeros_like(blank_BTU), torch.zeros_like(blank_BTU)
        for nodes in _slices(logits, lattices):
            x_TUV = logits[nodes]
            label_U1 = lattices.targets[nodes[0], : x_TUV.shape[1], None]
            blank_BTU[nodes] = x_TUV[..., lattices.blank].to(wide)
            label_BTU[nodes] = x_TUV.gather(2, label_U1.expand(len(x_TUV), -1, 1))[..., 0].to(wide)
            if normalize:
                norm_BTU[nodes] = torch.logsumexp(x_TUV.to(wide), 2)
        blank_BTU -= norm_BTU
        label_BTU -= norm_BTU
        log_p, g_blank, g_label = sum_alignments(forward_backward, blank_BTU, label_BTU, lattices, fastemit, penalties)
        finite_B = torch.isfinite(log_p)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(logits, norm_BTU, g_blank, g_label, finite_B)
            ctx.settings = lattices, clamp, normalize, overwrite
        return torch.where(finite_B, -log_p, float("inf"))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_B):
        """Return the gradient of the logits, zero for utterances whose loss is not finite."""
        logits, norm_BTU, g_blank, g_label, finite_B = ctx.saved_tensors
        lattices, clamp, normalize, overwrite = ctx.settings
        grad_B = torch.where(finite_B, grad_B, 0.0)
        result = logits.detach() if overwrite else torch.zeros_like(logits)
        for nodes in _slices(logits, lattices):
            g_blank_TU, g_label_TU = g_blank[nodes], g_label[nodes]
            if normalize:
                grad = torch.sub(logits[nodes], norm_BTU[nodes][..., None]).exp_()
                # If the loss is not finite, the occupancy is zero and the logits may be NaN.
                grad.mul_((g_blank_TU + g_label_TU)[..., None]).nan_to_num_(0.0, 0.0, 0.0)
            else:
                grad = torch.zeros_like(logits[nodes], dtype=norm_BTU.dtype)
            grad[..., lattices.blank] -= g_blank_TU
            label_U1 = lattices.targets[nodes[0], : grad.shape[1], None]
            grad.scatter_add_(2, label_U1.expand(len(grad), -1, 1), -g_label_TU[..., None])
            if clamp > 0:
                grad.clamp_(-clamp, clamp)
            result[nodes] = grad.mul_(grad_B[nodes[0]])
        if overwrite:
            for b, (frames, labels) in enumerate(lattices.lengths):
                result[b, frames:] = 0.0
                result[b, :frames, labels + 1 :] = 0.0
        return result, None, None, None, None, None, None


def _slices(logits: torch.Tensor, lattices: Lattices) -> Iterator[tuple[int, slice, slice]]:
    """Indices (b, frames, labels) that together select all valid nodes, some frames of one utterance at a time."""
    limit = _GPU_SLICE if logits.is_cuda else _CPU_SLICE
    for b, (frames, labels) in enumerate(lattices.lengths):
        step = max(1, limit // ((labels + 1) * logits.shape[3]))
        for start in range(0, frames, step):
            yield b, slice(start, min(frames, start + step)), slice(labels + 1)


def rnnt_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    logit_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank: int = -1,
    clamp: float = -1,
    reduction: str = "mean",
    fused_log_softmax: bool = True,
    fastemit: float = 0.0,
    overwrite_logits: bool = False,
) -> torch.Tensor:
    """Return -log P(targets), summed over all alignments (Graves 2012, arXiv 1211.3711, equation 17), of stored logits.

    logits: (B, T, U+1, V).
    targets: symbols, (B, U) integers.
    logit_lengths, target_lengths: valid T and U, (B,) integers. Padding is never read.
    blank: index of blank; a negative one counts from V.
    clamp: if positive, the bound to which each element of an utterance's gradient is clamped, before the reduction.
    reduction: "none" returns the losses (B,); "mean" and "sum" return a scalar.
    fused_log_softmax: False if the logits are log-probabilities already.
    fastemit: as in `transducer_loss`.
    overwrite_logits: True writes the gradient over the logits to save memory. The logits must then be the result of an
        operation, and must not be used after the backward pass.

    Returns float32, or float64 for logits in float64. An utterance whose loss is not finite gives inf and a gradient
    of zero.
    Raises ValueError for shapes, lengths and symbols that do not fit.

    >>> import torch, rnnt
    >>> logits = torch.zeros(1, 2, 2, 4, requires_grad=True)  # 2 frames, 1 target symbol, 3 symbols and blank
    >>> loss = rnnt.rnnt_loss(logits, torch.tensor([[0]]), torch.tensor([2]), torch.tensor([1]))
    >>> loss.backward()
    >>> round((-loss).exp().item(), 5)  # all symbols equally likely, 2 alignments of 3 arcs: 2 / 4**3
    0.03125
    """
    if logits.dim() != 4:
        raise ValueError(f"logits must be (B, T, U+1, V), not {tuple(logits.shape)}")
    if overwrite_logits and logits.is_leaf and logits.requires_grad:
        raise ValueError("overwrite_logits needs logits that are the result of an operation, not a leaf")
    lattices = check_lattices(
        logits.shape[:3], logits.shape[3], logits.device, targets, logit_lengths, target_lengths, blank,
        scores="logits", lengths="logit_lengths",
    )  # fmt: skip
    with torch.autocast(logits.device.type, enabled=False):
        losses = DenseLoss.apply(logits, lattices, clamp, fused_log_softmax, fastemit, overwrite_logits, None)
    return reduce_losses(losses, reduction)
