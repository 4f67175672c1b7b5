"""The transducer loss of stored logits: the same call as torchaudio.functional.rnnt_loss."""

from collections.abc import Iterator

import torch
from torch.autograd.function import once_differentiable

from rnnt.loss.arguments import Lattices, check, reduce_losses
from rnnt.loss.lattice import forward_backward

_CPU_SLICE, _GPU_SLICE = 2**19, 2**26  # logits of which wider copies exist at a time


class DenseLoss(torch.autograd.Function):
    """Losses (B,). Keeps the logits and a few numbers a node; a softmax exists of some frames at a time."""

    @staticmethod
    def forward(ctx, logits, lattices: Lattices, clamp: float, normalize: bool, fastemit: float, overwrite: bool):
        wide = torch.promote_types(logits.dtype, torch.float32)
        blank_BTU = torch.zeros(logits.shape[:3], dtype=wide, device=logits.device)
        label_BTU, norm_BTU = torch.zeros_like(blank_BTU), torch.zeros_like(blank_BTU)
        for place in _slices(logits, lattices):
            x_TUV = logits[place]
            label_U1 = lattices.targets[place[0], : x_TUV.shape[1], None]
            blank_BTU[place] = x_TUV[..., lattices.blank].to(wide)
            label_BTU[place] = x_TUV.gather(2, label_U1.expand(len(x_TUV), -1, 1))[..., 0].to(wide)
            if normalize:
                norm_BTU[place] = torch.logsumexp(x_TUV.to(wide), 2)
        blank_BTU -= norm_BTU
        label_BTU -= norm_BTU
        log_p, g_blank, g_label = forward_backward(blank_BTU, label_BTU, lattices.frames, lattices.labels)
        finite_B = torch.isfinite(log_p)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(logits, norm_BTU, g_blank, g_label.mul_(1 + fastemit), finite_B)
            ctx.settings = lattices, clamp, normalize, overwrite
        return torch.where(finite_B, -log_p, float("inf"))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_B):
        logits, norm_BTU, g_blank, g_label, finite_B = ctx.saved_tensors
        lattices, clamp, normalize, overwrite = ctx.settings
        grad_B = torch.where(finite_B, grad_B, 0.0)
        result = logits.detach() if overwrite else torch.zeros_like(logits)
        for place in _slices(logits, lattices):
            blank_TU, label_TU = g_blank[place], g_label[place]
            if normalize:
                grad = torch.sub(logits[place], norm_BTU[place][..., None]).exp_()
                # An utterance without a finite loss has no occupancy and may hold anything.
                grad.mul_((blank_TU + label_TU)[..., None]).nan_to_num_(0.0, 0.0, 0.0)
            else:
                grad = torch.zeros_like(logits[place], dtype=norm_BTU.dtype)
            grad[..., lattices.blank] -= blank_TU
            label_U1 = lattices.targets[place[0], : grad.shape[1], None]
            grad.scatter_add_(2, label_U1.expand(len(grad), -1, 1), -label_TU[..., None])
            if clamp > 0:
                grad.clamp_(-clamp, clamp)
            result[place] = grad.mul_(grad_B[place[0]])
        if overwrite:
            for b, (frames, labels) in enumerate(lattices.sizes):
                result[b, frames:] = 0.0
                result[b, :frames, labels + 1 :] = 0.0
        return result, None, None, None, None, None


def _slices(logits: torch.Tensor, lattices: Lattices) -> Iterator[tuple[int, slice, slice]]:
    """Places of some frames of one utterance, without its padding, of no more than the slice's size."""
    limit = _GPU_SLICE if logits.is_cuda else _CPU_SLICE
    for b, (frames, labels) in enumerate(lattices.sizes):
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
    """-log P(targets | logits), summed over all alignments (Graves 2012, equation 17).

    logits: (B, T, U+1, V); targets: (B, U) integers; logit_lengths, target_lengths: (B,) valid T and U. Nothing behind
    the lengths is read. clamp: bound on the size of each element of an utterance's gradient, if positive.
    fused_log_softmax=False takes `logits` for log-probabilities. fastemit: as for `transducer_loss`.
    overwrite_logits=True writes the gradient over the logits, which must be the result of an operation and not be used
    after the backward pass. An utterance whose loss is not finite gives inf and a gradient of zero. Returns (B,) or,
    reduced by "mean" or "sum", a scalar; half-precision logits give float32.
    Raises ValueError for shapes, lengths and labels that do not fit.
    """
    if logits.dim() != 4:
        raise ValueError(f"logits must be (B, T, U+1, V), not {tuple(logits.shape)}")
    if overwrite_logits and logits.is_leaf and logits.requires_grad:
        raise ValueError("overwrite_logits needs logits that are the result of an operation, not a leaf")
    names = {"scores": "logits", "frames": "logit_lengths", "labels": "target_lengths"}
    lattices = check(
        logits.shape[:3], logits.shape[3], logits.device, targets, logit_lengths, target_lengths, blank, names
    )
    with torch.autocast(logits.device.type, enabled=False):
        losses = DenseLoss.apply(logits, lattices, clamp, fused_log_softmax, fastemit, overwrite_logits)
    return reduce_losses(losses, reduction)
