"""The best path through the lattice of one long utterance, in bounded memory.

Only the nodes of a band are visited, frame by frame. The scores of the present frame alone are kept, and one bit for
each node: whether the best path to it arrives by a label. So an hour of audio with 50,000 symbols takes some megabytes.

Letters of the shapes:

    T  encoder frames    D  encoder width    U  symbols; in a tensor's name, the U+1 columns of the lattice
    N  nodes of a block of frames    C  columns of a frame
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from rnnt.decoding.alignment import Band
from rnnt.model import Transducer

_BLOCK = 1 << 18  # nodes that are scored at once
MOST_NODES = 30_000_000  # of a band that is widened; half a minute of work


class BestPath(NamedTuple):
    """The frame that emits each symbol on the most probable path of a band, and the path's log-probability."""

    frames: list[int]
    log_prob: float


def best_path(
    model: Transducer,
    encoder_1TD: torch.Tensor,
    targets_1U: torch.Tensor,
    band: Band,
    predictor_1UD: torch.Tensor | None = None,
) -> BestPath:
    """Return the most probable path of an utterance within a band (Viterbi).

    encoder_1TD: its frames, at least one. targets_1U: its symbols. predictor_1UD: the predictor's outputs (1, U+1, D),
    by default those of the model. If the band holds the best path of the whole lattice, that path is found.
    Raises ValueError for symbols that do not fit.
    """
    first, last = (x[0].numpy() for x in band)
    frames, labels = encoder_1TD.shape[1], targets_1U.shape[1]
    every = np.arange(frames)
    lows, highs = np.searchsorted(last, every, "left"), np.searchsorted(first, every, "right") - 1
    arrivals: list[np.ndarray] = []
    before = np.zeros(1)  # score of the columns from `start` on, before a blank of the frame before is paid
    start = 0
    for low, high, (blank, label) in zip(
        lows.tolist(), highs.tolist(), _scores(model, encoder_1TD, targets_1U, lows, highs, predictor_1UD)
    ):
        by_blank = np.full(high - low + 1, -np.inf)
        kept = before[low - start : high - start + 1]
        by_blank[: len(kept)] = kept
        # From column j to u by labels alone: their sum. So the best score of u is a running maximum over all j <= u.
        sums = np.concatenate([[0.0], np.cumsum(label[:-1])])
        relative = by_blank - sums
        best = np.maximum.accumulate(relative)
        arrivals.append(np.packbits(best > relative))
        before, start = best + sums + blank, low
    path: list[int] = []
    u = labels
    for t in range(frames - 1, -1, -1):
        low = int(lows[t])
        by_label = np.unpackbits(arrivals[t][: (u - low) // 8 + 1])
        while by_label[u - low]:
            u -= 1
            path.append(t)
    return BestPath(path[::-1], float(before[labels - start]))


def widest_path(
    model: Transducer, encoder_1TD: torch.Tensor, targets_1U: torch.Tensor, band: Band, margin: int
) -> BestPath:
    """Return the best path of a band that is made wider until the path no longer touches its edges.

    margin: frames by which the band becomes wider at first, around the symbols whose emission touches an edge; twice as
    many each time. The band has at most `MOST_NODES` nodes, unless it had more at the beginning.
    """
    predictor_1UD = model.predictor(targets_1U.to(encoder_1TD.device))
    while True:
        path = best_path(model, encoder_1TD, targets_1U, band, predictor_1UD)
        wider = widened(band, path.frames, encoder_1TD.shape[1], margin)
        if wider is None or band_nodes(wider) > MOST_NODES:
            return path
        band, margin = wider, 2 * margin


def widened(band: Band, frames: list[int], length: int, margin: int) -> Band | None:
    """Return a band that is up to `margin` frames wider around each symbol whose emission touches the band's edge.

    frames: of the emissions of one utterance of `length` frames. None if no emission touches an edge.
    """
    emitted = torch.tensor(frames, dtype=torch.long)
    first, last = (x[0].clone() for x in band)
    # Symbol u leads from column u to column u + 1, so it is emitted between first[u + 1] and last[u].
    early, late = (emitted <= first[1:]) & (first[1:] > 0), (emitted >= last[:-1]) & (last[:-1] < length - 1)
    if not bool((early | late).any()):
        return None
    first[1:] -= margin * early
    last[:-1] += margin * late
    first = first.flip(0).cummin(0).values.flip(0).clamp(min=0)
    last = last.cummax(0).values.clamp(max=length - 1)
    return Band(first[None], last[None])


def band_nodes(band: Band) -> int:
    """Return the number of nodes of a band, of all utterances."""
    return int((band.last - band.first + 1).sum())


def _scores(
    model: Transducer,
    encoder_1TD: torch.Tensor,
    targets_1U: torch.Tensor,
    lows: np.ndarray,
    highs: np.ndarray,
    predictor_1UD: torch.Tensor | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the log-probabilities (C,) of blank and label at the columns low .. high of each frame, in float64."""
    joint = model.joint
    if predictor_1UD is None:
        predictor_1UD = model.predictor(targets_1U.to(encoder_1TD.device))
    columns_1UH = joint.project_predictor(predictor_1UD)
    width = columns_1UH.shape[1]
    counts = highs - lows + 1
    ends = counts.cumsum()
    frame = 0
    while frame < len(counts):
        done = ends[frame] - counts[frame]
        stop = max(int(np.searchsorted(ends, done + _BLOCK, "right")), frame + 1)
        rows = np.repeat(np.arange(stop - frame), counts[frame:stop])
        starts = ends[frame:stop] - counts[frame:stop] - done
        column_N = np.arange(ends[stop - 1] - done) - starts[rows] + lows[frame:stop][rows]
        # Columns outside the block take no part, so only those inside, and the next one, are handed on.
        left, right = int(lows[frame]), min(int(highs[stop - 1]) + 1, width - 1)
        number_N = torch.from_numpy(rows * (right - left + 1) + column_N - left).to(encoder_1TD.device)
        inputs = joint.project_encoder(encoder_1TD[:, frame:stop]), columns_1UH[:, left : right + 1]
        lengths = torch.tensor([stop - frame]), torch.tensor([right - left])
        targets = targets_1U[:, left:right]
        scores = joint.scores_at_nodes(*inputs, targets, *lengths, number_N)
        blank_N, label_N = (x.double().cpu().numpy() for x in scores)
        yield from zip(np.split(blank_N, starts[1:]), np.split(label_N, starts[1:]))
        frame = stop
