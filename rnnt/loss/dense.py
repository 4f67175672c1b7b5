"""The transducer loss of stored logits: the same call as torchaudio.functional.rnnt_loss."""

import torch

from rnnt.loss.lattice import forward_backward


def check_shapes(
    shape: tuple[int, int, int],
    targets_BU: torch.Tensor,
    frames: torch.Tensor,
    labels: torch.Tensor,
    names: dict[str, str],
) -> None:
    """Raise ValueError, naming argument and utterance, unless the lengths and targets fit a (B, T, U+1) lattice."""
    batch, size, width = shape
    for name, value in (("targets", targets_BU), (names["frames"], frames), (names["labels"], labels)):
        if value.is_floating_point():
            raise ValueError(f"{name} must hold integers, not {value.dtype}")
        if value.dim() != (2 if name == "targets" else 1):
            raise ValueError(f"{name} must be {'(B, U)' if name == 'targets' else '(B,)'}, not {tuple(value.shape)}")
        if len(value) != batch:
            raise ValueError(f"{name} is for {len(value)} utterances, {names['scores']} for {batch}")
    if targets_BU.shape[1] != width - 1:
        raise ValueError(f"targets are {tuple(targets_BU.shape)}, but {names['scores']} need ({batch}, {width - 1})")
    for name, value, low, high in ((names["frames"], frames, 1, size), (names["labels"], labels, 0, width - 1)):
        wrong = ((value < low) | (value > high)).nonzero()
        if len(wrong):
            i = int(wrong[0])
            raise ValueError(f"{name}[{i}] is {int(value[i])}; it must lie between {low} and {high}")


def check_labels(targets_BU: torch.Tensor, labels: torch.Tensor, vocabulary: int, blank: int) -> int:
    """Raise ValueError for a valid target that is blank or out of range; returns blank as a non-negative index."""
    if not -vocabulary <= blank < vocabulary:
        raise ValueError(f"blank is {blank}; it must lie between {-vocabulary} and {vocabulary - 1}")
    blank %= vocabulary
    valid = torch.arange(targets_BU.shape[1], device=targets_BU.device)[None] < labels[:, None]
    wrong = (valid & ((targets_BU < 0) | (targets_BU >= vocabulary) | (targets_BU == blank))).nonzero()
    if len(wrong):
        i, u = wrong[0].tolist()
        kind = "blank" if int(targets_BU[i, u]) == blank else f"outside 0 .. {vocabulary - 1}"
        raise ValueError(f"targets[{i}, {u}] is {int(targets_BU[i, u])}, which is {kind}")
    return blank


def reduce_losses(losses_B: torch.Tensor, reduction: str) -> torch.Tensor:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; choose none, mean or sum")
    return losses_B if reduction == "none" else getattr(losses_B, reduction)()


class _DenseLoss(torch.autograd.Function):
    """Keeps the logits and one log-sum-exp a node; the softmax exists in the backward pass alone."""

    @staticmethod
    def forward(ctx, logits, targets, frames, labels, blank, clamp, normalize):
        wide = logits.dtype if logits.dtype == torch.float64 else torch.float32
        size = logits.shape[1]
        norm = torch.logsumexp(logits.to(wide), dim=3) if normalize else logits.new_zeros(logits.shape[:3], dtype=wide)
        index = torch.nn.functional.pad(targets.long(), (0, 1)).clamp(0, logits.shape[3] - 1)
        index = index[:, None, :, None].expand(-1, size, -1, -1)
        label_logp = logits.gather(3, index)[..., 0].to(wide) - norm
        log_p, g_blank, g_label = forward_backward(logits[..., blank].to(wide) - norm, label_logp, frames, labels)
        ctx.save_for_backward(logits, norm, g_blank, g_label, index)
        ctx.blank, ctx.clamp, ctx.normalize = blank, clamp, normalize
        return torch.where(torch.isfinite(log_p), -log_p, float("inf"))

    @staticmethod
    def backward(ctx, grad_B):
        logits, norm, g_blank, g_label, index = ctx.saved_tensors
        occupancy = (g_blank + g_label)[..., None]
        if ctx.normalize:
            grad = torch.exp(logits.to(norm.dtype) - norm[..., None]).mul_(occupancy)
            grad.masked_fill_(occupancy == 0, 0.0)  # padding may hold anything, NaN too
        else:
            grad = logits.new_zeros(logits.shape, dtype=norm.dtype)
        grad[..., ctx.blank] -= g_blank
        grad.scatter_add_(3, index, -g_label[..., None])
        if ctx.clamp > 0:
            grad.clamp_(-ctx.clamp, ctx.clamp)
        weight = torch.where((occupancy == 0).all((1, 2, 3)), 0.0, grad_B.to(grad.dtype))
        return (grad * weight[:, None, None, None]).to(logits.dtype), None, None, None, None, None, None


def rnnt_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    logit_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank: int = -1,
    clamp: float = -1,
    reduction: str = "mean",
    fused_log_softmax: bool = True,
) -> torch.Tensor:
    """-log P(targets | logits), summed over all alignments (Graves 2012, equation 17).

    logits: (B, T, U+1, V); targets: (B, U) integers; logit_lengths, target_lengths: (B,) valid T and U. Nothing behind
    the lengths is read. clamp: bound on the size of each element of an utterance's gradient, if positive.
    fused_log_softmax=False takes `logits` for log-probabilities. An utterance whose loss is not finite gives inf and a
    gradient of zero. Returns (B,) or, reduced by "mean" or "sum", a scalar; half-precision logits give float32.
    Raises ValueError for shapes, lengths and labels that do not fit.
    """
    if logits.dim() != 4:
        raise ValueError(f"logits must be (B, T, U+1, V), not {tuple(logits.shape)}")
    names = {"scores": "logits", "frames": "logit_lengths", "labels": "target_lengths"}
    check_shapes(logits.shape[:3], targets, logit_lengths, target_lengths, names)
    blank = check_labels(targets, target_lengths, logits.shape[3], blank)
    losses = _DenseLoss.apply(
        logits, targets, logit_lengths.long(), target_lengths.long(), blank, clamp, fused_log_softmax
    )
    return reduce_losses(losses, reduction)
