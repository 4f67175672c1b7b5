"""Element-wise operations on a tile of R lattice nodes: everything in the fused loss that is not a matrix product.

`Operations` declares them. This module implements them in plain torch, and `kernels` in Triton.

Letters of the shapes:

    B  utterances             T  encoder frames        U  in a tensor's name, the U+1 predictor states
    H  joint width            V  symbols with blank    R  nodes of the tile
    X  rows: the B T frames of all utterances          Y  columns: the B (U+1) predictor states of all utterances

A node joins a row with a column: node (t, u) of utterance b has row b T + t and column b (U+1) + u.
"""

from dataclasses import dataclass
from typing import Protocol

import torch

from rnnt.loss.lattice import forward_backward

__all__ = ["Dropout", "Operations", "add_hidden_gradient", "forward_backward", "hidden", "log_probs", "logit_gradient"]


@dataclass(frozen=True)
class Dropout:
    """Decides which hidden units are dropped, as a function of node and unit, so that a mask can be computed again.

    Unit h of node (row, column) is dropped if the 16-bit sum rows[row, h] + columns[column, h], which wraps around, is
    below the threshold. The sums are uniform, and independent between any two nodes of an utterance. The two tables are
    as large as the outputs of encoder and predictor; a stored mask would be as large as the hidden layer.
    """

    rows: torch.Tensor  # (X, H) int16
    columns: torch.Tensor  # (Y, H) int16
    threshold: int

    @classmethod
    def draw(cls, rate: float, rows: int, columns: int, width: int, device: torch.device) -> "Dropout":
        """Draw tables for X = `rows`, Y = `columns` and H = `width`, with torch's generator of the device."""
        table = torch.randint(-(2**15), 2**15, (rows + columns, width), dtype=torch.int16, device=device)
        return cls(table[:rows], table[rows:], min(round(rate * 2**16), 2**16 - 1) - 2**15)

    @property
    def keep(self) -> float:
        """The exact probability that a unit is kept."""
        return 1 - (self.threshold + 2**15) / 2**16

    def __call__(self, x_RH: torch.Tensor, row_R: torch.Tensor, column_R: torch.Tensor) -> torch.Tensor:
        """Return x with the dropped units set to zero."""
        bits = self.rows[row_R].add_(self.columns[column_R])
        if x_RH.dtype.itemsize == 2:  # threshold_backward compares in x's type, which cannot hold all 16-bit integers
            return torch.where(bits >= self.threshold, x_RH, 0.0)
        # On a CPU this is one vectorised pass; masked_fill takes thirty times as long.
        return torch.ops.aten.threshold_backward(x_RH, bits.to(x_RH.dtype), self.threshold - 0.5)


class Operations(Protocol):
    """The functions of a tile. The modules `tile` and `kernels` both satisfy this interface."""

    def hidden(
        self,
        rows_XH: torch.Tensor,
        columns_YH: torch.Tensor,
        row_R: torch.Tensor,
        column_R: torch.Tensor,
        activation: str,
        dropout: Dropout | None,
    ) -> torch.Tensor:
        """Return the nodes' hidden layer, (R, H): dropout(activation(rows[row] + columns[column])).

        activation: "relu", "tanh", or "identity" for the additive joint, which has no dropout. The units that dropout
        keeps are not divided by `dropout.keep`; the caller divides the weight instead.
        """

    def add_hidden_gradient(
        self,
        grad_RH: torch.Tensor,
        hidden_RH: torch.Tensor,
        row_R: torch.Tensor,
        column_R: torch.Tensor,
        activation: str,
        dropout: Dropout | None,
        rows_grad_XH: torch.Tensor,
        columns_grad_YH: torch.Tensor,
    ) -> None:
        """Add the gradients of the rows and columns that the nodes joined to `rows_grad_XH` and `columns_grad_YH`.

        hidden_RH: what `hidden` returned for these nodes; grad_RH: its gradient. The nodes are in the order of their
        rows.
        """

    def log_probs(
        self, logits_RV: torch.Tensor, label_R: torch.Tensor, blank: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each node's log-probabilities of blank and of the symbol `label_R`, (R,) each.

        They are normalized in float32, or in float64 for logits in float64, and returned in this type.
        """

    def logit_gradient(
        self,
        logits_RV: torch.Tensor,
        g_blank_R: torch.Tensor,
        g_label_R: torch.Tensor,
        label_R: torch.Tensor,
        blank: int,
    ) -> torch.Tensor:
        """Return the gradient of the logits, (R, V). May write it over the logits.

        It is (g_blank + g_label) softmax(logits), less g_blank at blank and less g_label at the symbol `label_R`:
        the gradient of -(g_blank log P(blank) + g_label log P(label)).
        """

    def forward_backward(
        self,
        blank_BTU: torch.Tensor,
        label_BTU: torch.Tensor,
        encoder_lengths: torch.Tensor,
        target_lengths: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return log P (B,) and the expected counts of blank and label arcs; see `lattice.forward_backward`."""


def hidden(
    rows_XH: torch.Tensor,
    columns_YH: torch.Tensor,
    row_R: torch.Tensor,
    column_R: torch.Tensor,
    activation: str,
    dropout: Dropout | None,
) -> torch.Tensor:
    """Implement `Operations.hidden`."""
    x_RH = rows_XH.index_select(0, row_R).add_(columns_YH.index_select(0, column_R))
    if activation != "identity":
        x_RH = getattr(torch, f"{activation}_")(x_RH)
    return dropout(x_RH, row_R, column_R) if dropout else x_RH


def add_hidden_gradient(
    grad_RH: torch.Tensor,
    hidden_RH: torch.Tensor,
    row_R: torch.Tensor,
    column_R: torch.Tensor,
    activation: str,
    dropout: Dropout | None,
    rows_grad_XH: torch.Tensor,
    columns_grad_YH: torch.Tensor,
) -> None:
    """Implement `Operations.add_hidden_gradient`, for nodes in any order."""
    if activation == "relu":  # a dropped unit is zero too, so this applies the dropout as well
        grad_RH = torch.ops.aten.threshold_backward(grad_RH, hidden_RH, 0)
    elif activation == "tanh":
        grad_RH = grad_RH * (1 - hidden_RH.square())
        grad_RH = dropout(grad_RH, row_R, column_R) if dropout else grad_RH
    grad_RH = grad_RH.to(rows_grad_XH.dtype)
    rows_grad_XH.index_add_(0, row_R, grad_RH)
    columns_grad_YH.index_add_(0, column_R, grad_RH)


def log_probs(logits_RV: torch.Tensor, label_R: torch.Tensor, blank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Implement `Operations.log_probs`."""
    logp_RV = torch.log_softmax(logits_RV, 1, dtype=torch.promote_types(logits_RV.dtype, torch.float32))
    return logp_RV[:, blank], logp_RV.gather(1, label_R[:, None])[:, 0]


def logit_gradient(
    logits_RV: torch.Tensor, g_blank_R: torch.Tensor, g_label_R: torch.Tensor, label_R: torch.Tensor, blank: int
) -> torch.Tensor:
    """Implement `Operations.logit_gradient`, in float32 or float64 and in new memory."""
    grad_RV = torch.softmax(logits_RV, 1, dtype=torch.promote_types(logits_RV.dtype, torch.float32))
    grad_RV.mul_((g_blank_R + g_label_R)[:, None])
    grad_RV[:, blank] -= g_blank_R
    return grad_RV.scatter_add_(1, label_R[:, None], -g_label_R[:, None])
