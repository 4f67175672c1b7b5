"""Lattices for transcripts that may be wrong or lack words: an alignment may skip frames and symbols, at a price.

At each node (t, u) a star arc is added next to the blank arc, and a bypass arc next to the label arc (Bataev 2025,
arXiv 2504.06963, and Gao et al. 2023, arXiv 2309.15796, for CTC):

    star    (t, u) -> (t+1, u)   (1 - P(blank)) exp(-star): the frame is passed over as if some symbol were said there
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
    penalties: Penalties | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the log of the sum over all alignments (B,), and the counts of blanks and labels (B, T, U+1).

    forward_backward: `lattice.forward_backward` or another implementation of it; blank_BTU, label_BTU: its arguments.
    penalties: those of the star and bypass arcs; None without such arcs.
    The counts have the same meaning as those of `forward_backward`: the gradient of the result with respect to the
    logits z of a node is that of g_blank log P(blank) + g_label log P(label). A star arc's share is in g_blank.
    """
    lengths = lattices.encoder_lengths, lattices.target_lengths
    if penalties is None:
        return forward_backward(blank_BTU, label_BTU, *lengths)
    # With c = exp(-star), blank and star arc together are P + c (1 - P) = c + (1 - c) P, where P is P(blank). The term
    # c has no gradient; the share of the other term, which is at most 1, takes the place of the count of blanks.
    free = torch.full_like(blank_BTU, -penalties.star)
    bypass = torch.full_like(label_BTU, -penalties.bypass)
    bound_BTU = blank_BTU + _log_complement(penalties.star)
    frame_BTU, symbol_BTU = torch.logaddexp(bound_BTU, free), torch.logaddexp(label_BTU, bypass)
    log_p, g_frame, g_symbol = forward_backward(frame_BTU, symbol_BTU, *lengths)
    return log_p, _share(g_frame, bound_BTU - frame_BTU), _share(g_symbol, label_BTU - symbol_BTU)


def _log_complement(penalty: float) -> float:
    """Return log(1 - exp(-penalty))."""
    return math.log(-math.expm1(-penalty)) if penalty > 0 else -math.inf


def _share(count_BTU: torch.Tensor, log_share_BTU: torch.Tensor) -> torch.Tensor:
    """Divide the counts. Nodes that are not counted, such as padding, may hold anything."""
    return torch.where(count_BTU > 0, count_BTU * log_share_BTU.exp(), 0.0)
