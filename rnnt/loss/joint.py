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
    "auto" picks the fastest there is. Returns (B,), or a scalar by `reduction`. Raises ValueError as `rnnt_loss` does.
    """
    if implementation not in ("auto", "reference"):
        raise ValueError(f"implementation is {implementation!r}; choose auto or reference")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; choose {' or '.join(ACTIVATIONS)}")
    if encoder_BTH.dim() != 3 or predictor_BUH.dim() != 3:
        raise ValueError("encoder and predictor must be (B, T, H) and (B, U+1, H)")
    if len({encoder_BTH.shape[2], predictor_BUH.shape[2], weight_VH.shape[1]}) != 1:
        raise ValueError("encoder, predictor and weight differ in their last size, the joint's width H")
    shape = (encoder_BTH.shape[0], encoder_BTH.shape[1], predictor_BUH.shape[1])
    names = {"scores": "encoder and predictor", "frames": "encoder_lengths", "labels": "target_lengths"}
    check_shapes(shape, targets_BU, encoder_lengths, target_lengths, names)
    blank = check_labels(targets_BU, target_lengths, weight_VH.shape[0], blank)
    hidden_BTUH = ACTIVATIONS[activation](encoder_BTH[:, :, None] + predictor_BUH[:, None])
    if dropout:
        hidden_BTUH = torch.nn.functional.dropout(hidden_BTUH, dropout)
    logits_BTUV = torch.nn.functional.linear(hidden_BTUH, weight_VH, bias_V)
    losses = rnnt_loss(logits_BTUV, targets_BU, encoder_lengths, target_lengths, blank, reduction="none")
    return reduce_losses(losses, reduction)
