"""The joint network and the transducer loss in one call."""

import torch

from rnnt.loss.dense import check_labels, check_shapes, reduce_losses, rnnt_loss

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


def transducer_loss(
    encoder_BTH: torch.Tensor,
    predictor_BUH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor,
    targets_BU: torch.Tensor,
    encoder_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank: int = -1,
    activation: str = "relu",
    dropout: float = 0.0,
    reduction: str = "mean",
    implementation: str = "auto",
) -> torch.Tensor:
    """-log P(targets) of logits(t, u) = weight dropout(activation(encoder(t) + predictor(u))) + bias.

    encoder_BTH: (B, T, H); predictor_BUH: (B, U+1, H); weight_VH, bias_V: the joint's output layer; targets_BU: (B, U);
    encoder_lengths, target_lengths: (B,). implementation: "reference" stores the (B, T, U+1, V) logits in plain torch;
    "auto" picks the fastest there is. Nothing behind the lengths is read; an utterance whose loss is not finite gives
    inf and a gradient of zero. Returns (B,), or a scalar by `reduction`. Raises ValueError as `rnnt_loss` does.
    """
    if implementation not in ("auto", "reference"):
        raise ValueError(f"implementation is {implementation!r}; choose auto or reference")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; choose {' or '.join(ACTIVATIONS)}")
    if encoder_BTH.dim() != 3 or predictor_BUH.dim() != 3:
        raise ValueError("encoder and predictor must be (B, T, H) and (B, U+1, H)")
    if len({encoder_BTH.shape[2], predictor_BUH.shape[2], weight_VH.shape[1]}) != 1:
        raise ValueError("encoder, predictor and weight differ in their last size, the joint's width H")
    if len(encoder_BTH) != len(predictor_BUH):
        raise ValueError(f"predictor is for {len(predictor_BUH)} utterances, encoder for {len(encoder_BTH)}")
    if bias_V.shape != weight_VH.shape[:1]:
        raise ValueError(f"bias is {tuple(bias_V.shape)}, but weight is for {len(weight_VH)} symbols")
    shape = (encoder_BTH.shape[0], encoder_BTH.shape[1], predictor_BUH.shape[1])
    names = {"scores": "encoder and predictor", "frames": "encoder_lengths", "labels": "target_lengths"}
    check_shapes(shape, targets_BU, encoder_lengths, target_lengths, names)
    blank = check_labels(targets_BU, target_lengths, weight_VH.shape[0], blank)
    # Zero times NaN is NaN: what is not to be learned from must not reach the products of the backward pass either.
    encoder_BTH = _clear(encoder_BTH, encoder_lengths)
    predictor_BUH = _clear(predictor_BUH, target_lengths + 1)
    finite_B = torch.isfinite(encoder_BTH).all(2).all(1) & torch.isfinite(predictor_BUH).all(2).all(1)
    encoder_BTH = encoder_BTH.masked_fill(~finite_B[:, None, None], 0.0)
    predictor_BUH = predictor_BUH.masked_fill(~finite_B[:, None, None], 0.0)
    hidden_BTUH = ACTIVATIONS[activation](encoder_BTH[:, :, None] + predictor_BUH[:, None])
    if dropout:
        hidden_BTUH = torch.nn.functional.dropout(hidden_BTUH, dropout)
    logits_BTUV = torch.nn.functional.linear(hidden_BTUH, weight_VH, bias_V)
    losses = rnnt_loss(logits_BTUV, targets_BU, encoder_lengths, target_lengths, blank, reduction="none")
    return reduce_losses(losses.masked_fill(~finite_B, float("inf")), reduction)


def _clear(x_BTH: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Zeros behind the lengths."""
    behind_BT = torch.arange(x_BTH.shape[1], device=x_BTH.device) >= lengths[:, None]
    return x_BTH.masked_fill(behind_BT[:, :, None], 0.0)
