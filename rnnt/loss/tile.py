"""What is done to one tile of R nodes beside its matrix products, in plain torch. `kernels` does the same in Triton.

A node is a pair of rows: `row` of the encoder's output seen as (B T, H), `column` of the predictor's as (B (U+1), H).
"""

from dataclasses import dataclass

import torch

from rnnt.loss.lattice import forward_backward

__all__ = ["Dropout", "add_hidden_gradient", "forward_backward", "hidden", "log_probs", "logit_gradient"]


@dataclass(frozen=True)
class Dropout:
    """Which hidden units are dropped: a function of the node and the unit, so that it can be evaluated again at will.

    Unit h of node (row, column) falls out where the 16-bit sum rows[row, h] + columns[column, h], which wraps around,
    is below the threshold. The sums are uniform, and independent between any two nodes of an utterance, for tables of
    the size of the encoder's and the predictor's output instead of the hidden layer's.
    """

    rows: torch.Tensor  # (B T, H) int16
    columns: torch.Tensor  # (B (U+1), H) int16
    threshold: int

    @classmethod
    def draw(cls, rate: float, rows: int, columns: int, width: int, device: torch.device) -> "Dropout":
        """With random bits from torch's generator of the device."""
        table = torch.randint(-(2**15), 2**15, (rows + columns, width), dtype=torch.int16, device=device)
        return cls(table[:rows], table[rows:], min(round(rate * 2**16), 2**16 - 1) - 2**15)

    @property
    def keep(self) -> float:
        """The exact share of units that stay."""
        return 1 - (self.threshold + 2**15) / 2**16

    def __call__(self, x_RH: torch.Tensor, row_R: torch.Tensor, column_R: torch.Tensor) -> torch.Tensor:
        """x with zeros where a unit is dropped."""
        bits = self.rows[row_R].add_(self.columns[column_R])
        if x_RH.dtype.itemsize == 2:  # too narrow for 16 bits
            return torch.where(bits >= self.threshold, x_RH, 0.0)
        # On a CPU this is one vectorised pass, where masked_fill takes thirty times as long.
        return torch.ops.aten.threshold_backward(x_RH, bits.to(x_RH.dtype), self.threshold - 0.5)


def hidden(
    rows_XH: torch.Tensor,
    columns_YH: torch.Tensor,
    row_R: torch.Tensor,
    column_R: torch.Tensor,
    activation: str,
    dropout: Dropout | None,
) -> torch.Tensor:
    """dropout(activation(rows[row] + columns[column])), (R, H), not scaled up for what was dropped."""
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
    """Add the gradient of `hidden`'s inputs to the two sums, given that of its output and the output."""
    if activation == "relu":  # a dropped unit is zero too
        grad_RH = torch.ops.aten.threshold_backward(grad_RH, hidden_RH, 0)
    elif activation == "tanh":
        grad_RH = grad_RH * (1 - hidden_RH.square())
        grad_RH = dropout(grad_RH, row_R, column_R) if dropout else grad_RH
    grad_RH = grad_RH.to(rows_grad_XH.dtype)
    rows_grad_XH.index_add_(0, row_R, grad_RH)
    columns_grad_YH.index_add_(0, column_R, grad_RH)


def log_probs(logits_RV: torch.Tensor, label_R: torch.Tensor, blank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (R,) of blank and of each node's label, normalized in float32 or better."""
    logp_RV = torch.log_softmax(logits_RV, 1, dtype=torch.promote_types(logits_RV.dtype, torch.float32))
    return logp_RV[:, blank], logp_RV.gather(1, label_R[:, None])[:, 0]


def logit_gradient(
    logits_RV: torch.Tensor, blank_R: torch.Tensor, labels_R: torch.Tensor, label_R: torch.Tensor, blank: int
) -> torch.Tensor:
    """(R, V): softmax times the node's weights of blank and of its label together, less each at its own symbol."""
    grad_RV = torch.softmax(logits_RV, 1, dtype=torch.promote_types(logits_RV.dtype, torch.float32))
    grad_RV.mul_((blank_R + labels_R)[:, None])
    grad_RV[:, blank] -= blank_R
    return grad_RV.scatter_add_(1, label_R[:, None], -labels_R[:, None])
