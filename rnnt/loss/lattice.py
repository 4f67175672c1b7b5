"""Forward-backward over the T x (U+1) lattice of all alignments (Graves 2012, section 2.4; DESIGN section 6).

Vectorised over the batch and over anti-diagonals: all nodes with t + u = d depend on diagonal d - 1 alone. The scores
are stored skewed, row d holding node (d - u, u) in column u, so that a step reads and writes one block of memory. Sums
of probabilities are taken by logaddexp, node by node, in float64: occupancies are exponentials of differences of large
numbers, whose float32 rounding is 1e-4 for an utterance's lattice, and enormous for scores of -1e4. The lattice is
small beside the logits, so this costs nothing that can be measured.
"""

import torch


def skew(x_BTU: torch.Tensor, value: float) -> torch.Tensor:
    """(B, T, U') -> (T+U'-1, B, U') with skewed[t+u, b, u] = x[b, t, u], `value` where there is no node."""
    batch, frames, width = x_BTU.shape
    # A column u moved down by u is the same memory read with rows one element longer, transposed.
    padded = torch.nn.functional.pad(x_BTU.transpose(1, 2), (0, width), value=value)  # (B, U', T + U')
    flat = padded.reshape(batch, -1)[:, : width * (frames + width - 1)]
    return flat.reshape(batch, width, frames + width - 1).permute(2, 0, 1).contiguous()


def unskew(x_DBU: torch.Tensor, frames: int) -> torch.Tensor:
    """Inverse of `skew`: (T+U'-1, B, U') -> (B, T, U')."""
    diagonals, batch, width = x_DBU.shape
    flat = torch.nn.functional.pad(x_DBU.permute(1, 2, 0).reshape(batch, -1), (0, width))
    return flat.reshape(batch, width, diagonals + 1)[:, :, :frames].transpose(1, 2)


def forward_backward(
    blank_BTU: torch.Tensor, label_BTU: torch.Tensor, frames: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log P of each utterance and the expected number of times that each arc is taken.

    blank_BTU, label_BTU: (B, T, U+1) log-probabilities of blank and of the next label at each node (the label's last
    column is not read); frames, labels: (B,) valid T and U, T >= 1. What lies outside is not read.
    Returns log P (B,), g_blank and g_label (B, T, U+1) in the scores' type, zero outside the lattice. Both are zero for
    an utterance with log P of -inf or NaN.
    """
    batch, size, width = blank_BTU.shape
    device, dtype, minus_inf = blank_BTU.device, blank_BTU.dtype, float("-inf")
    t = torch.arange(size, device=device)[None, :, None]
    u = torch.arange(width, device=device)[None, None, :]
    inside = (t < frames[:, None, None]) & (u <= labels[:, None, None])
    at_end = u == labels[:, None, None]
    blank_ok = inside & ((t < frames[:, None, None] - 1) | at_end)
    blank = skew(blank_BTU.double().masked_fill(~blank_ok, minus_inf), minus_inf)
    label = skew(label_BTU.double().masked_fill(~inside | at_end, minus_inf), minus_inf)
    diagonals = len(blank)
    # Behind its last blank an utterance goes on for nothing until the longest has ended too.
    rows = torch.arange(diagonals, device=device)[:, None, None]
    end_BU = at_end[:, 0]
    blank.masked_fill_((rows >= (frames + labels)[:, None]) & end_BU, 0.0)

    # One more column, never reached, on the side from which labels come: a diagonal is then three operations.
    alpha = blank.new_full((diagonals, batch, 1 + width), minus_inf)
    alpha[0, :, 1] = 0.0
    stay, move = blank.new_empty(2, batch, width)
    from_left = label.roll(1, 2)  # the last column, whose label is -inf, becomes that of the column never reached
    for d in range(1, diagonals):
        torch.add(alpha[d - 1, :, 1:], blank[d - 1], out=stay)
        torch.add(alpha[d - 1, :, :-1], from_left[d - 1], out=move)
        torch.logaddexp(stay, move, out=alpha[d, :, 1:])
    del from_left
    beta = blank.new_full((diagonals + 1, batch, width + 1), minus_inf)
    beta[-1, :, :-1].masked_fill_(end_BU, 0.0)
    for d in range(diagonals - 1, -1, -1):
        torch.add(beta[d + 1, :, :-1], blank[d], out=stay)
        torch.add(beta[d + 1, :, 1:], label[d], out=move)
        torch.logaddexp(stay, move, out=beta[d, :, :-1])

    log_p = beta[0, :, 0].clone()
    keep = torch.isfinite(log_p)[:, None, None] & inside
    alpha = alpha[:, :, 1:].sub_(log_p[:, None])
    g_blank = unskew(blank.add_(alpha).add_(beta[1:, :, :-1]).exp_().to(dtype), size)
    g_label = unskew(label.add_(alpha).add_(beta[1:, :, 1:]).exp_().to(dtype), size)
    return log_p.to(dtype), torch.where(keep, g_blank, 0.0), torch.where(keep, g_label, 0.0)
