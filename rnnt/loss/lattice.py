"""Forward-backward over the T x (U+1) lattice of all alignments (Graves 2012, section 2.4; DESIGN section 6).

It is vectorised over the batch and over diagonals: all nodes with t + u = d depend on diagonal d - 1 alone. The scores
are stored skewed, with node (d - u, u) in row d and column u, so that each step reads and writes one block of memory.

Probabilities are added by logaddexp in float64. An occupancy is the exponential of a difference of large numbers;
in float32 its rounding error is 1e-4 on an utterance's lattice, and enormous for scores of -1e4. The lattice is small
compared with the logits, so float64 costs no measurable time.

Letters of the shapes:

    B  utterances    T  encoder frames    U  in a tensor's name, the U+1 columns of the lattice
    D  diagonals, T + U
"""

import torch


def skew(x_BTU: torch.Tensor, value: float) -> torch.Tensor:
    """Move each diagonal of x (B, T, U+1) into a row: return skewed (D, B, U+1) with skewed[t+u, b, u] = x[b, t, u].

    Elements to which no node moves are `value`.
    """
    batch, frames, width = x_BTU.shape
    # Transposed, column u is a row, which must move right by u. Pad all rows to T+U+1 elements, then read the same
    # memory as rows that are one element shorter: each row begins one element further right than the one before.
    padded = torch.nn.functional.pad(x_BTU.transpose(1, 2), (0, width), value=value)
    flat = padded.reshape(batch, -1)[:, : width * (frames + width - 1)]
    return flat.reshape(batch, width, frames + width - 1).permute(2, 0, 1).contiguous()


def unskew(x_DBU: torch.Tensor, frames: int) -> torch.Tensor:
    """Invert `skew`: return (B, T, U+1) of x (D, B, U+1), with T = `frames`."""
    diagonals, batch, width = x_DBU.shape
    flat = torch.nn.functional.pad(x_DBU.permute(1, 2, 0).reshape(batch, -1), (0, width))
    return flat.reshape(batch, width, diagonals + 1)[:, :, :frames].transpose(1, 2)


def forward_backward(
    blank_BTU: torch.Tensor, label_BTU: torch.Tensor, encoder_lengths: torch.Tensor, target_lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return log P of each utterance and the expected number of times that the alignment takes each arc.

    blank_BTU, label_BTU: log-probabilities of blank and of the next target symbol at each node, (B, T, U+1). Padding
        is not read, nor is the score of an arc that leaves the lattice: a label after the last symbol, or a blank of
        the last frame before it.
    encoder_lengths, target_lengths: valid T and U, (B,); T is at least 1.

    Returns log P (B,), g_blank and g_label (B, T, U+1), all in the type of the scores. The counts are zero outside an
    utterance's lattice, and everywhere if its log P is not finite.
    """
    batch, size, width = blank_BTU.shape
    device, dtype, minus_inf = blank_BTU.device, blank_BTU.dtype, float("-inf")
    t = torch.arange(size, device=device)[None, :, None]
    u = torch.arange(width, device=device)[None, None, :]
    inside = (t < encoder_lengths[:, None, None]) & (u <= target_lengths[:, None, None])
    at_end = u == target_lengths[:, None, None]
    blank_ok = inside & ((t < encoder_lengths[:, None, None] - 1) | at_end)
    blank = skew(blank_BTU.double().masked_fill(~blank_ok, minus_inf), minus_inf)
    label = skew(label_BTU.double().masked_fill(~inside | at_end, minus_inf), minus_inf)
    diagonals = len(blank)
    # After its last blank an utterance keeps taking arcs of log-probability 0 until the longest utterance is done.
    rows = torch.arange(diagonals, device=device)[:, None, None]
    end_BU = at_end[:, 0]
    blank.masked_fill_((rows >= (encoder_lengths + target_lengths)[:, None]) & end_BU, 0.0)

    # Alpha has one more column on the left, and beta one on the right. They always hold -inf. With them no column is a
    # special case, and three operations compute a diagonal.
    alpha = blank.new_full((diagonals, batch, 1 + width), minus_inf)
    alpha[0, :, 1] = 0.0
    stay, move = blank.new_empty(2, batch, width)
    from_left = label.roll(1, 2)  # arcs from the additional column get the scores of the last one, all -inf
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
