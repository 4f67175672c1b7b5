"""The joint network and the transducer loss in one call."""

import functools
import os
import warnings
from importlib.util import find_spec

import torch

from rnnt.device import cpu_gains_by_bfloat16
from rnnt.loss import tile
from rnnt.loss.arguments import Lattices, check, reduce_losses
from rnnt.loss.dense import DenseLoss
from rnnt.loss.fused import FusedLoss, Settings
from rnnt.loss.tile import Dropout

IMPLEMENTATIONS = ("auto", "reference", "fused", "triton")
ACTIVATIONS = ("relu", "tanh")


def transducer_loss(
    encoder_BTH: torch.Tensor,
    predictor_BUH: torch.Tensor,
    weight_VH: torch.Tensor | None,
    bias_V: torch.Tensor | None,
    targets_BU: torch.Tensor,
    encoder_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank: int = -1,
    activation: str = "relu",
    dropout: float = 0.0,
    fastemit: float = 0.0,
    tolerance: float = 1e-7,
    reduction: str = "mean",
    implementation: str = "auto",
) -> torch.Tensor:
    """-log P(targets) of logits(t, u) = weight dropout(activation(encoder(t) + predictor(u))) + bias.

    encoder_BTH: (B, T, H); predictor_BUH: (B, U+1, H); weight_VH, bias_V: the joint's output layer, or None and None
    for the additive joint, logits(t, u) = encoder(t) + predictor(u), of Graves 2012, where H is V and activation and
    dropout do not apply; targets_BU: (B, U); encoder_lengths, target_lengths: (B,). The last three may stay on the
    host, which spares the device a wait.
    fastemit: lambda of FastEmit (Yu et al. 2021): the gradient of all labels' arcs times 1 + lambda, the loss as it is.
    tolerance: nodes that the alignment passes through with no greater probability add nothing to the gradient
    (docs/loss.md); 0 leaves none out but those of probability zero.
    implementation: "reference" stores the (B, T, U+1, V) logits in plain torch; "fused" computes them tile by tile, in
    torch on any device; "triton" likewise, with kernels for a GPU; "auto" picks the fastest there is. Under autocast
    the matrix products are of its type. Nothing behind the lengths is read; an utterance whose loss is not finite
    gives inf and a gradient of zero. Returns (B,), or a scalar by `reduction`, in float32 or better.
    Raises ValueError as `rnnt_loss` does.
    """
    _check_joint(encoder_BTH, predictor_BUH, weight_VH, bias_V, activation, dropout)
    if fastemit < 0:
        raise ValueError(f"fastemit is {fastemit}; it must not be negative")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; it must be at least 0 and below 1")
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation is {implementation!r}; choose {', '.join(IMPLEMENTATIONS)}")
    shape = (*encoder_BTH.shape[:2], predictor_BUH.shape[1])
    vocabulary = encoder_BTH.shape[2] if weight_VH is None else len(weight_VH)
    names = {"scores": "encoder and predictor", "frames": "encoder_lengths", "labels": "target_lengths"}
    device = encoder_BTH.device
    lattices = check(shape, vocabulary, device, targets_BU, encoder_lengths, target_lengths, blank, names)
    if weight_VH is None:
        activation, dropout = "identity", 0.0
    masks = None
    if dropout:
        masks = Dropout.draw(dropout, shape[0] * shape[1], shape[0] * shape[2], encoder_BTH.shape[2], device)
    inputs = (encoder_BTH, predictor_BUH, weight_VH, bias_V)
    if implementation == "auto":
        implementation = "triton" if device.type == "cuda" and _triton_runs(device) else "fused"
    if implementation == "reference":
        losses = _reference(*inputs, lattices, activation, masks, fastemit)
    else:
        parts = tile
        if implementation == "triton":
            if not find_spec("triton"):
                raise ValueError("implementation triton needs the package: pip install 'rnnt[triton]'")
            if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
                raise ValueError(
                    f"implementation triton runs on a GPU; the encoder's output is on {device}: choose fused"
                )
            from rnnt.loss import kernels as parts
        products = _products(encoder_BTH, weight_VH)
        losses = FusedLoss.apply(*inputs, Settings(lattices, activation, masks, fastemit, tolerance, products, parts))
    return reduce_losses(losses, reduction)


@functools.cache
def _triton_runs(device: torch.device) -> bool:
    """Whether the kernels run on the device. torch brings Triton along, but not the C compiler that it calls."""
    if not find_spec("triton"):
        return False
    try:
        from rnnt.loss import kernels

        number, place = torch.zeros(1, 1, device=device), torch.zeros(1, dtype=torch.long, device=device)
        kernels.hidden(number, number, place, place, "relu", None)
    except Exception as error:  # whatever a compiler or a driver is short of
        reason = " ".join(str(error).split())[:200]
        warnings.warn(
            f"Triton does not run on {device} ({reason}): the loss is computed in torch, more slowly. Triton needs a "
            "C compiler and Python's headers, in Debian the packages gcc and python3-dev",
            stacklevel=3,
        )
        return False
    return True


def _check_joint(encoder_BTH, predictor_BUH, weight_VH, bias_V, activation: str, dropout: float) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; choose {' or '.join(ACTIVATIONS)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; it must be at least 0 and below 1")
    if encoder_BTH.dim() != 3 or predictor_BUH.dim() != 3:
        raise ValueError("encoder and predictor must be (B, T, H) and (B, U+1, H)")
    widths = {encoder_BTH.shape[2], predictor_BUH.shape[2]} | ({weight_VH.shape[1]} if weight_VH is not None else set())
    if len(widths) != 1:
        raise ValueError("encoder, predictor and weight differ in their last size, the joint's width H")
    if len(encoder_BTH) != len(predictor_BUH):
        raise ValueError(f"predictor is for {len(predictor_BUH)} utterances, encoder for {len(encoder_BTH)}")
    if (weight_VH is None) != (bias_V is None):
        raise ValueError("give both weight and bias, or None for both: the additive joint")
    if bias_V is not None and bias_V.shape != weight_VH.shape[:1]:
        raise ValueError(f"bias is {tuple(bias_V.shape)}, but weight is for {len(weight_VH)} symbols")


def _products(encoder_BTH: torch.Tensor, weight_VH: torch.Tensor | None) -> torch.dtype:
    """The type in which to multiply."""
    device = encoder_BTH.device.type
    if torch.is_autocast_enabled(device):
        wanted = torch.get_autocast_dtype(device)
    else:
        wanted = encoder_BTH.dtype if weight_VH is None else torch.promote_types(encoder_BTH.dtype, weight_VH.dtype)
    if wanted.itemsize == 2 and device == "cpu" and not (wanted == torch.bfloat16 and cpu_gains_by_bfloat16()):
        return torch.float32  # faster and, of the same inputs, more accurate
    return wanted


def _reference(encoder_BTH, predictor_BUH, weight_VH, bias_V, lattices: Lattices, activation, masks, fastemit):
    """All logits at once, by autograd."""
    # Zero times NaN is NaN: what is not to be learned from must not reach the products of the backward pass either.
    encoder_BTH = _clear(encoder_BTH, lattices.frames)
    predictor_BUH = _clear(predictor_BUH, lattices.labels + 1)
    finite_B = torch.isfinite(encoder_BTH).all(2).all(1) & torch.isfinite(predictor_BUH).all(2).all(1)
    encoder_BTH = encoder_BTH.masked_fill(~finite_B[:, None, None], 0.0)
    predictor_BUH = predictor_BUH.masked_fill(~finite_B[:, None, None], 0.0)
    logits_BTUV = encoder_BTH[:, :, None] + predictor_BUH[:, None]
    if weight_VH is not None:
        hidden_BTUH = getattr(torch, activation)(logits_BTUV)
        if masks is not None:
            batch, frames, width, _ = hidden_BTUH.shape
            bits = masks.rows.view(batch, frames, 1, -1) + masks.columns.view(batch, 1, width, -1)
            hidden_BTUH = torch.where(bits >= masks.threshold, hidden_BTUH / masks.keep, 0.0)
        logits_BTUV = torch.nn.functional.linear(hidden_BTUH, weight_VH, bias_V)
    losses = DenseLoss.apply(logits_BTUV, lattices, -1, True, fastemit, False)
    return losses.masked_fill(~finite_B, float("inf"))


def _clear(x_BTH: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Zeros behind the lengths."""
    behind_BT = torch.arange(x_BTH.shape[1], device=x_BTH.device) >= lengths[:, None]
    return x_BTH.masked_fill(behind_BT[:, :, None], 0.0)
