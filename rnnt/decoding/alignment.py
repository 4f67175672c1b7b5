"""The alignment of known symbols with encoder frames: the best path through the lattice, and its occupancies.

The lattice is that of DESIGN section 6. Only the nodes of a band are visited: for each column u, the frames from
`first` to `last`. A band of all frames gives exact results. A narrow one around a path that is known roughly takes
memory and time in proportion to T + U instead of T x U, so an hour of audio can be aligned.

Letters of the shapes:

    B  utterances    T  encoder frames    H  joint width    U  symbols; in a tensor's name, the U+1 columns
    N  nodes of the bands of all utterances    C  columns of all utterances, B (U+1)
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from rnnt.model import Transducer


@dataclass(frozen=True)
class Alignment:
    """The alignment of an utterance's symbols with its T encoder frames. The lists have an entry for each symbol.

    frames: the frame that emits the symbol on the most probable path. expected: the mean of that frame over all paths,
    weighted by their probability. log_probs: log-probability of the symbol at its node of the best path.
    posteriors: probability of the symbol, given that a symbol is emitted in its place, as a mean over all paths. It
    does not depend on how certain the model is of the frame.
    log_prob: log-probability of the symbols, the sum over all paths; path_log_prob: that of the best path.
    ends: the frame at which the symbol is over, of a model with durations; None for others.
    """

    frames: list[int]
    expected: list[float]
    log_probs: list[float]
    posteriors: list[float]
    log_prob: float
    path_log_prob: float
    ends: list[int] | None = None


class Band(NamedTuple):
    """The nodes (t, u) of each utterance's lattice that are visited: first[b, u] <= t <= last[b, u].

    Both are int64 (B, U+1) on the CPU and never fall with u. first[b, 0] is 0, last[b, U] is T-1, and
    first[b, u+1] <= last[b, u], so that a path exists.
    """

    first: torch.Tensor
    last: torch.Tensor


def whole_band(lengths: torch.Tensor, columns: int) -> Band:
    """Return the band of all nodes. lengths: T of each utterance (B,); columns: U+1."""
    last = (lengths.cpu().long() - 1)[:, None].expand(-1, columns)
    return Band(torch.zeros_like(last), last)


def band_around(
    frames_BU: torch.Tensor, lengths: torch.Tensor, target_lengths: torch.Tensor, margin: int | torch.Tensor
) -> Band:
    """Return the band that is up to `margin` frames away from a path.

    frames_BU: the frame at which the path emits each symbol (B, U), not falling with u; padding may hold anything.
    margin: one for all, or (B, 1) on the CPU.
    """
    lengths, target_lengths, frames_BU = lengths.cpu().long(), target_lengths.cpu().long(), frames_BU.cpu().long()
    ends = (lengths - 1)[:, None]
    padding = torch.arange(frames_BU.shape[1]) >= target_lengths[:, None]
    frames_BU = torch.where(padding, ends, torch.minimum(frames_BU, ends)).clamp(min=0)
    # The path is in column u from the emission of symbol u - 1 to that of symbol u.
    entered = torch.nn.functional.pad(frames_BU, (1, 0))
    left = torch.cat((frames_BU, ends), 1)
    return Band((entered - margin).clamp(min=0), torch.minimum(left + margin, ends))


def align(
    model: Transducer,
    encoder_BTD: torch.Tensor,
    lengths: torch.Tensor,
    targets_BU: torch.Tensor,
    target_lengths: torch.Tensor,
    band: Band | None = None,
    predictor_BUD: torch.Tensor | None = None,
) -> list[Alignment]:
    """Align the symbols (B, U) of each utterance with its encoder frames (B, T, D).

    lengths, target_lengths: valid T and U, (B,); T is at least 1. band: the nodes to visit, by default all.
    predictor_BUD: the predictor's outputs (B, U+1, D), by default those of the model after each symbol.
    Raises ValueError for symbols or lengths that do not fit.
    """
    joint = model.joint
    if predictor_BUD is None:
        predictor_BUD = model.predictor(targets_BU.to(encoder_BTD.device))
    band = band or whole_band(lengths, targets_BU.shape[1] + 1)
    nodes = LatticeNodes.of(band, encoder_BTD.shape[1], target_lengths.cpu().long(), encoder_BTD.device)
    projected = joint.project_encoder(encoder_BTD), joint.project_predictor(predictor_BUD)
    blank_N, label_N = joint.scores_at_nodes(*projected, targets_BU, lengths, target_lengths, nodes.number)
    return _align_nodes(nodes, blank_N.double(), label_N.double())


@dataclass(frozen=True)
class LatticeNodes:
    """The nodes of the bands of all utterances, ordered by their diagonal t + u, and the arcs between them.

    All nodes of a diagonal depend on the diagonal before it alone, so they are computed together. The four arrays of
    neighbours hold places in this order; N stands for no node, and N + 1 for the end, after an utterance's last blank.
    """

    number: torch.Tensor  # (N,), (b T + t) (U+1) + u
    frame: torch.Tensor  # (N,), t
    column: torch.Tensor  # (N,), b (U+1) + u
    from_blank: torch.Tensor  # (N,), node (t-1, u)
    from_label: torch.Tensor  # (N,), node (t, u-1)
    to_blank: torch.Tensor  # (N,), node (t+1, u)
    to_label: torch.Tensor  # (N,), node (t, u+1)
    place: torch.Tensor  # (N,), of each node if ordered by column, then frame
    starts: torch.Tensor  # (C+1,), where each column starts in that order
    diagonals: list[int]  # where each diagonal starts, and N
    target_lengths: list[int]
    last: torch.Tensor  # (B,), the place of each utterance's last node

    @classmethod
    def of(cls, band: Band, frames: int, target_lengths: torch.Tensor, device: torch.device) -> "LatticeNodes":
        """Return the nodes of a band. frames: T, the padded one; target_lengths: U of each utterance (B,)."""
        batch, width = band.first.shape
        first, last = (x.reshape(-1).to(device) for x in band)
        u_C = torch.arange(width, device=device).repeat(batch)
        end_C = target_lengths.to(device).repeat_interleave(width)
        count_C = torch.where(u_C <= end_C, last - first + 1, 0)
        starts = torch.nn.functional.pad(count_C.cumsum(0), (1, 0))
        total = int(starts[-1])
        # First in the order of columns, in which the next frame is the next node.
        column = torch.repeat_interleave(torch.arange(batch * width, device=device), count_C, output_size=total)
        index = torch.arange(total, device=device)
        frame = index - starts[column] + first[column]
        diagonal = frame + u_C[column]
        order = diagonal.argsort(stable=True)
        place = torch.empty(total + 2, dtype=torch.long, device=device)
        place[order] = index
        place[total:] = torch.arange(total, total + 2, device=device)
        frame, column = frame[order], column[order]
        u = u_C[column]

        def neighbour(frame_change: int, column_change: int) -> torch.Tensor:
            other = (column + column_change).clamp(0, batch * width - 1)
            t = frame + frame_change
            inside = (t >= first[other]) & (t <= last[other])
            if column_change:
                inside &= (u > 0) if column_change < 0 else (u < end_C[column])
            return place[torch.where(inside, starts[other] + t - first[other], total)]

        to_blank = neighbour(1, 0)
        ends = (to_blank == total) & (u == end_C[column])
        counts = torch.bincount(diagonal, minlength=1).cumsum(0).tolist()
        return cls(
            number=(torch.div(column, width, rounding_mode="floor") * frames + frame) * width + u,
            frame=frame,
            column=column,
            from_blank=neighbour(-1, 0),
            from_label=neighbour(0, -1),
            to_blank=torch.where(ends, total + 1, to_blank),
            to_label=neighbour(0, 1),
            place=place[:total],
            starts=starts,
            diagonals=[0, *counts],
            target_lengths=target_lengths.tolist(),
            last=place[starts[torch.arange(batch, device=device) * width + target_lengths.to(device) + 1] - 1],
        )


def sum_over_paths(nodes: LatticeNodes, blank_N: torch.Tensor, label_N: torch.Tensor) -> torch.Tensor:
    """Return the log-probability (B,) of each utterance's symbols, the sum over all paths.

    blank_N, label_N: log-probabilities of blank and of the next symbol at the nodes (N,).
    """
    return _forward(nodes, blank_N, label_N, torch.logaddexp)[nodes.last] + blank_N[nodes.last]


def _align_nodes(nodes: LatticeNodes, blank_N: torch.Tensor, label_N: torch.Tensor) -> list[Alignment]:
    """Align by the scores (N,) of the nodes."""
    alpha = _forward(nodes, blank_N, label_N, torch.logaddexp)
    beta = _backward(nodes, blank_N, label_N)
    best = _forward(nodes, blank_N, label_N, torch.maximum)
    batch = len(nodes.target_lengths)
    width = (len(nodes.starts) - 1) // batch
    log_prob_B = (alpha[nodes.last] + blank_N[nodes.last]).tolist()
    best_B = (best[nodes.last] + blank_N[nodes.last]).tolist()
    log_p = torch.tensor(log_prob_B, dtype=alpha.dtype, device=alpha.device)
    utterance_N = torch.div(nodes.column, width, rounding_mode="floor")
    emitted_N = (alpha[:-2] + label_N + beta[nodes.to_label] - log_p[utterance_N]).exp_().nan_to_num_(0.0)
    del alpha, beta
    sums = emitted_N.new_zeros(3, batch * width)
    # The probability of the label if blank is ruled out. Rounding may leave blank less than that to share.
    chosen_N = label_N.exp() / torch.maximum(-torch.expm1(blank_N), label_N.exp()).clamp(min=1e-300)
    for total, values in zip(sums, (emitted_N, emitted_N * nodes.frame, emitted_N * chosen_N)):
        total.index_add_(0, nodes.column, values)
    weight, moment, posterior = sums.view(3, batch, width).unbind()
    expected_BU = (moment / weight.clamp(min=1e-30)).tolist()
    posterior_BU = (posterior / weight.clamp(min=1e-30)).clamp(max=1.0).tolist()
    # On the best path, the node before each is the one whose arc gives its score.
    padded = torch.nn.functional.pad(label_N, (0, 2), value=float("-inf"))
    by_label = (best[nodes.from_label] + padded[nodes.from_label] == best[:-2]).cpu().numpy()
    from_blank, from_label, frame, label = (
        x.cpu().numpy() for x in (nodes.from_blank, nodes.from_label, nodes.frame, label_N)
    )
    results = []
    for b, (labels, node) in enumerate(zip(nodes.target_lengths, nodes.last.tolist())):
        frames, log_probs = [], []
        while len(frames) < labels:
            if by_label[node]:
                node = from_label[node]
                frames.append(int(frame[node]))
                log_probs.append(float(label[node]))
            else:
                node = from_blank[node]
        frames.reverse()
        results.append(
            Alignment(
                frames,
                expected_BU[b][:labels],
                log_probs[::-1],
                posterior_BU[b][:labels],
                log_prob_B[b],
                best_B[b],
            )
        )
    return results


def _forward(nodes: LatticeNodes, blank_N: torch.Tensor, label_N: torch.Tensor, add) -> torch.Tensor:
    """Return alpha (N+2,) of each node; the last two elements are -inf. add: combines the scores of two paths."""
    minus_inf = float("-inf")
    padded = (torch.nn.functional.pad(x, (0, 2), value=minus_inf) for x in (blank_N, label_N))
    by_blank, by_label = (x[source] for x, source in zip(padded, (nodes.from_blank, nodes.from_label)))
    alpha = blank_N.new_full((len(blank_N) + 2,), minus_inf)
    alpha[: nodes.diagonals[1]] = 0.0
    for start, end in zip(nodes.diagonals[1:], nodes.diagonals[2:]):
        stay = alpha[nodes.from_blank[start:end]] + by_blank[start:end]
        move = alpha[nodes.from_label[start:end]] + by_label[start:end]
        add(stay, move, out=alpha[start:end])
    return alpha


def _backward(nodes: LatticeNodes, blank_N: torch.Tensor, label_N: torch.Tensor) -> torch.Tensor:
    """Return beta (N+2,) of each node; the last two elements are -inf and 0, that of the end."""
    beta = blank_N.new_full((len(blank_N) + 2,), float("-inf"))
    beta[-1] = 0.0
    for start, end in zip(nodes.diagonals[-2::-1], nodes.diagonals[:0:-1]):
        stay = beta[nodes.to_blank[start:end]] + blank_N[start:end]
        move = beta[nodes.to_label[start:end]] + label_N[start:end]
        torch.logaddexp(stay, move, out=beta[start:end])
    return beta
