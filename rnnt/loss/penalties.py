"""Lattices for transcripts that may be wrong or lack words: an alignment may skip frames and symbols, at a price.

At each node (t, u) a star arc is added next to the blank arc, and a bypass arc next to the label arc (Bataev 2025,
arXiv 2504.06963, and Gao et al. 2023, arXiv 2309.15796, for CTC):

    star    (t, u) -> (t+1, u)   P(neither blank nor the next symbol) exp(-star): the frame is passed over, because
                                 something else was said in it
    bypass  (t, u) -> (t, u+1)   exp(-bypass): the next symbol of the transcript is passed over, nothing is emitted

Arcs with the same ends add up, so the recursion over the lattice stays that of `forward_backward`, with other scores.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from rnnt.loss.arguments import Lattices


@dataclass(frozen=True)
class Penalties:
    """The prices of star and bypass arcs, in nats: at least 0. An infinite price removes the arcs.

    Raises ValueError for a price below 0.
    """

    star: float
    bypass: float

    def __post_init__(self):
        for name in ("star", "bypass"):
            value = getattr(self, name)
            if not value >= 0:
                raise ValueError(f"the penalty {name} is {value}; it must be at least 0")


def sum_alignments(
    forward_backward: Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    blank_BTU: torch.Tensor,
    label_BTU: torch.Tensor,
    lattices: Lattices,
    fastemit: float,
    penalties: Penalties | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the log of the sum over all alignments (B,), and the counts of blanks and labels (B, T, U+1).

    forward_backward: `lattice.forward_backward` or another implementation of it; blank_BTU, label_BTU: its arguments.
    fastemit, penalties: those of `transducer_loss`.
    The gradient of the result with respect to the logits of a node is that of g_blank log P(blank) + g_label log P(next
    symbol). Without penalties the counts are those of the arcs, that of the label times 1 + fastemit. With them a count
    also holds what the node's star arc contributes, and may be negative.
    """
    lengths = lattices.encoder_lengths, lattices.target_lengths
    if penalties is None:
        log_p, g_blank, g_label = forward_backward(blank_BTU, label_BTU, *lengths)
        return log_p, g_blank, g_label.mul_(1 + fastemit)
    # After the last symbol there is no next one, which the star arc would have to leave out.
    ends_BU = torch.arange(label_BTU.shape[2], device=label_BTU.device) >= lattices.target_lengths[:, None]
    label_BTU = label_BTU.masked_fill(ends_BU[:, None], -math.inf)
    other_BTU = -torch.expm1(torch.logaddexp(blank_BTU, label_BTU).double())
    star_BTU = other_BTU.clamp(min=0).log().to(blank_BTU.dtype) - penalties.star
    frame_BTU = torch.logaddexp(blank_BTU, star_BTU)
    symbol_BTU = torch.logaddexp(label_BTU, torch.full_like(label_BTU, -penalties.bypass))
    log_p, g_frame, g_symbol = forward_backward(frame_BTU, symbol_BTU, *lengths)
    # The star arc's score has the gradient of -(P(blank) log P(blank) + P(next) log P(next)) / other.
    g_blank = _share(g_frame, blank_BTU - frame_BTU) * -math.expm1(-penalties.star)
    g_label = _share(g_symbol, label_BTU - symbol_BTU) * (1 + fastemit)
    return log_p, g_blank, g_label - _share(g_frame, label_BTU - frame_BTU - penalties.star)


def _share(count_BTU: torch.Tensor, log_share_BTU: torch.Tensor) -> torch.Tensor:
    """Multiply the counts by shares. Nodes that are not counted, such as padding, may hold anything."""
    return torch.where(count_BTU > 0, count_BTU * log_share_BTU.exp(), 0.0)
