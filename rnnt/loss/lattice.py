"""Forward-backward over the T x (U+1) lattice of all alignments (Graves 2012, section 2.4; DESIGN section 6).

Vectorised over the batch and over anti-diagonals: all nodes with t + u = d depend on diagonal d - 1 alone. The scores
are stored skewed, row d holding node (d - u, u) in column u, so that a step reads and writes whole rows. Sums of
probabilities are taken by logaddexp, node by node, in float64: occupancies are exponentials of differences of large
numbers, whose float32 rounding is 1e-4 for an utterance's lattice, and enormous for scores of -1e4. The lattice is
small beside the logits, so this costs nothing that can be measured.
"""

import torch


def skew(x_BTU: torch.Tensor, value: float) -> torch.Tensor:
    """(B, T, U') -> (B, T+U'-1, U') with skewed[b, t+u, u] = x[b, t, u], `value` where there is no node."""
    batch, frames, width = x_BTU.shape
    # A column u moved down by u is the same memory read with rows one element longer, transposed.
    padded = torch.nn.functional.pad(x_BTU.transpose(1, 2), (0, width), value=value)  # (B, U', T + U')
    flat = padded.reshape(batch, -1)[:, : width * (frames + width - 1)]
    return flat.reshape(batch, width, frames + width - 1).transpose(1, 2).contiguous()


def unskew(x_BDU: torch.Tensor, frames: int) -> torch.Tensor:
    """Inverse of `skew`: (B, T+U'-1, U') -> (B, T, U')."""
    batch, diagonals, width = x_BDU.shape
    flat = torch.nn.functional.pad(x_BDU.transpose(1, 2).reshape(batch, -1), (0, width))
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
    last_blank = (t == frames[:, None, None] - 1) & (u == labels[:, None, None])
    blank_ok = inside & ((t < frames[:, None, None] - 1) | last_blank)
    label_ok = inside & (u < labels[:, None, None])
    blank = skew(blank_BTU.double().masked_fill(~blank_ok, minus_inf), minus_inf)
    label = skew(label_BTU.double().masked_fill(~label_ok, minus_inf), minus_inf)
    diagonals = blank.shape[1]

    alpha = torch.full_like(blank, minus_inf)
    alpha[:, 0, 0] = 0.0
    for d in range(1, diagonals):
        stay = alpha[:, d - 1] + blank[:, d - 1]
        move = alpha[:, d - 1, :-1] + label[:, d - 1, :-1]
        alpha[:, d, 0] = stay[:, 0]
        torch.logaddexp(stay[:, 1:], move, out=alpha[:, d, 1:])

    # beta[d] of the node behind the last blank is 0: one more diagonal and one more row hold it.
    end_d, rows = frames + labels - 1, torch.arange(batch, device=device)
    after_blank = torch.full_like(blank, minus_inf)
    after_blank[rows, end_d, labels] = 0.0
    beta = torch.full_like(blank, minus_inf)
    beta[:, -1] = blank[:, -1] + after_blank[:, -1]
    for d in range(diagonals - 2, -1, -1):
        stay = blank[:, d] + torch.maximum(beta[:, d + 1], after_blank[:, d])
        beta[:, d] = stay
        torch.logaddexp(stay[:, :-1], label[:, d, :-1] + beta[:, d + 1, 1:], out=beta[:, d, :-1])

    log_p = beta[:, 0, 0].clone()
    usable = torch.isfinite(log_p)
    base = alpha - log_p[:, None, None]
    down = after_blank
    down[:, :-1] = torch.maximum(down[:, :-1], beta[:, 1:])
    g_blank = torch.exp(base + blank + down)
    right = torch.full_like(beta, minus_inf)
    right[:, :-1, :-1] = beta[:, 1:, 1:]
    g_label = torch.exp(base + label + right)
    keep = usable[:, None, None] & inside
    g_blank = torch.where(keep, unskew(g_blank, size), 0.0)
    g_label = torch.where(keep, unskew(g_label, size), 0.0)
    return log_p.to(dtype), g_blank.to(dtype), g_label.to(dtype)
