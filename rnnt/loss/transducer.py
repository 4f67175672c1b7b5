"""The joint network and the transducer loss in one call."""

import torch

from rnnt.loss.arguments import Lattices, check_joint, reduce_losses
from rnnt.loss.dense import DenseLoss
from rnnt.loss.fused import FusedLoss
from rnnt.loss.penalties import Penalties
from rnnt.loss.scores import JointSettings, choose_operations, product_type
from rnnt.loss.tile import Dropout

IMPLEMENTATIONS = ("auto", "reference", "fused", "triton")


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
    penalties: Penalties | None = None,
) -> torch.Tensor:
    """Return -log P(targets), summed over all alignments (Graves 2012, arXiv 1211.3711), from the joint's inputs.

    The logits of node (t, u) are weight dropout(activation(encoder(t) + predictor(u))) + bias. They are never stored
    for the whole lattice, except by implementation "reference".

    encoder_BTH: encoder's output after the joint's linear layer, (B, T, H).
    predictor_BUH: the same of the predictor, (B, U+1, H); state u has read the first u symbols.
    weight_VH, bias_V: the joint's output layer. None for both is the additive joint, logits(t, u) = encoder(t) +
        predictor(u), of Graves 2012; then H is V, and activation and dropout have no effect.
    targets_BU: symbols, (B, U) integers.
    encoder_lengths, target_lengths: valid T and U, (B,) integers. On a GPU, pass these two and the targets as CPU
        tensors to avoid a wait for the GPU. Padding is never read.
    blank: index of blank; a negative one counts from V.
    activation: "relu" or "tanh".
    dropout: rate at which units of the hidden layer are dropped.
    fastemit: lambda of FastEmit (Yu et al. 2021, arXiv 2010.11148). The gradient of every label arc is multiplied by
        1 + lambda; the loss itself does not change.
    tolerance: nodes through which the alignment passes with at most this probability get no gradient (docs/loss.md
        bounds the error). 0 leaves out only nodes of probability zero.
    reduction: "none" returns the losses (B,); "mean" and "sum" return a scalar.
    implementation: "reference" stores the (B, T, U+1, V) logits, in plain torch; "fused" computes them tile by tile, in
        torch on any device; "triton" does the same with kernels for a GPU; "auto" is "triton" on a GPU if it runs
        there, and otherwise "fused".
    penalties: prices at which an alignment may skip frames and symbols, for targets that may be wrong or lack symbols
        (docs/loss.md). The loss may then be negative.

    Returns float32, or float64 for inputs in float64. Under autocast, matrix products are in autocast's type. An
    utterance whose loss is not finite gives inf and a gradient of zero.
    Raises ValueError for settings out of range, and for shapes, lengths and symbols that do not fit.

    >>> import torch, rnnt
    >>> encoder = torch.zeros(1, 2, 8, requires_grad=True)  # 2 frames, joint width 8
    >>> predictor = torch.zeros(1, 2, 8)  # 1 target symbol
    >>> weight, bias = torch.zeros(4, 8), torch.zeros(4)  # 3 symbols and blank, all equally likely
    >>> targets, lengths = torch.tensor([[0]]), (torch.tensor([2]), torch.tensor([1]))
    >>> loss = rnnt.transducer_loss(encoder, predictor, weight, bias, targets, *lengths)
    >>> loss.backward()
    >>> round((-loss).exp().item(), 5)  # 2 alignments of 3 arcs: 2 / 4**3
    0.03125
    """
    if fastemit < 0:
        raise ValueError(f"fastemit is {fastemit}; it must not be negative")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; it must be at least 0 and below 1")
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation is {implementation!r}; choose {', '.join(IMPLEMENTATIONS)}")
    inputs = encoder_BTH, predictor_BUH, weight_VH, bias_V
    lattices = check_joint(*inputs, targets_BU, encoder_lengths, target_lengths, blank, activation, dropout)
    if weight_VH is None:
        activation, dropout = "identity", 0.0
    masks = None
    if dropout:
        batch, frames, width = encoder_BTH.shape
        masks = Dropout.draw(dropout, batch * frames, batch * predictor_BUH.shape[1], width, encoder_BTH.device)
    if implementation == "reference":
        losses = _reference(*inputs, lattices, activation, masks, fastemit, penalties)
    else:
        operations = choose_operations(implementation, encoder_BTH.device)
        settings = JointSettings(lattices, activation, masks, product_type(encoder_BTH, weight_VH), operations)
        losses = FusedLoss.apply(*inputs, settings, fastemit, tolerance, penalties)
    return reduce_losses(losses, reduction)


def _reference(
    encoder_BTH: torch.Tensor,
    predictor_BUH: torch.Tensor,
    weight_VH: torch.Tensor | None,
    bias_V: torch.Tensor | None,
    lattices: Lattices,
    activation: str,
    masks: Dropout | None,
    fastemit: float,
    penalties: Penalties | None,
) -> torch.Tensor:
    """The losses (B,) from stored logits. Autograd differentiates the joint network."""
    # In the backward pass zero times NaN is NaN. So replace everything that must not contribute, not only ignore it.
    encoder_BTH = _clear_padding(encoder_BTH, lattices.encoder_lengths)
    predictor_BUH = _clear_padding(predictor_BUH, lattices.target_lengths + 1)
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
    losses = DenseLoss.apply(logits_BTUV, lattices, -1, True, fastemit, False, penalties)
    return losses.masked_fill(~finite_B, float("inf"))


def _clear_padding(x_BTH: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """x with zeros after each utterance's length."""
    padding_BT = torch.arange(x_BTH.shape[1], device=x_BTH.device) >= lengths[:, None]
    return x_BTH.masked_fill(padding_BT[:, :, None], 0.0)
