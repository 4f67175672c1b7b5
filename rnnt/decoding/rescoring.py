"""Exact scores of the hypotheses that beam search ends with: sums over alignments that the search did not follow.

The search drops a prefix that is improbable at the present frame, and with it all alignments that go through it later.
If a model emits a word's letters at one frame, these are nearly all alignments of the word. So the search finds good
hypotheses and ranks them badly. Here each gets the sum over all alignments in a band around its path. In a short stream
that is the whole lattice.

Hypotheses of a stream share most of their prefixes, so the joint runs once for each prefix and frame.

Letters of the shapes: B streams, T encoder frames, H joint width, R hypotheses of all streams, U symbols; C columns of
a stream: pairs of a prefix and the symbol after it; N nodes of the bands of all hypotheses, M the distinct ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from rnnt.decoding.alignment import LatticeNodes, band_around, sum_over_paths
from rnnt.decoding.scorer import Scorers
from rnnt.model.joint import Joint

# Frames on either side of a path that its alignments may be away. Those farther away add a tenth of a nat on average.
MARGIN = 4
# Frames of the longest stream whose lattice is summed up whole: its scores are exact. Words of letters are as short.
WHOLE = 24


class Emission(NamedTuple):
    """The symbols of a hypothesis: when and how probably its best alignment emits each, and the predictor's outputs.

    outputs: projected (H,), before the first symbol and after each.
    """

    tokens: list[int]
    frames: list[int]
    log_probs: list[float]
    outputs: list[torch.Tensor]


def rescore(
    joint: Joint, frames: Sequence[torch.Tensor | None], found: Sequence[Sequence[Emission]], scorers: Scorers
) -> list[list[tuple[float, float]]]:
    """Return the log-probability of each hypothesis's symbols, and the same as the scorers weigh blank.

    frames: the projected encoder frames of each stream (T, H); None if it has none, then all its scores are 0.
    """
    results = [[(0.0, 0.0)] * len(emissions) for emissions in found]
    streams = [b for b, each in enumerate(frames) if each is not None and found[b]]
    if not streams:
        return results
    encoder_BTH = torch.nn.utils.rnn.pad_sequence([frames[b] for b in streams], batch_first=True)
    lengths_B = torch.tensor([len(frames[b]) for b in streams])
    columns = [_columns(found[b]) for b in streams]
    targets_BC, outputs_BCH, counts_B, column_RU = _share(columns, encoder_BTH)
    emissions = [emission for b in streams for emission in found[b]]
    stream_R = torch.tensor([row for row, b in enumerate(streams) for _ in found[b]])
    frames_RU = torch.nn.utils.rnn.pad_sequence([torch.tensor(x.frames).long() for x in emissions], batch_first=True)
    symbols_R = torch.tensor([len(emission.tokens) for emission in emissions])
    lengths_R1 = lengths_B[stream_R, None]
    band = band_around(frames_RU, lengths_R1[:, 0], symbols_R, torch.where(lengths_R1 > WHOLE, MARGIN, lengths_R1))
    device, (_, time, _), width = encoder_BTH.device, encoder_BTH.shape, outputs_BCH.shape[1]
    nodes = LatticeNodes.of(band, time, symbols_R, device)
    row_N = torch.div(nodes.column, column_RU.shape[1], rounding_mode="floor")
    stream_N, column_N = stream_R.to(device)[row_N], column_RU.to(device).view(-1)[nodes.column]
    number_M, inverse_N = ((stream_N * time + nodes.frame) * width + column_N).unique(return_inverse=True)
    blank_M, label_M = joint.scores_at_nodes(encoder_BTH, outputs_BCH, targets_BC, lengths_B, counts_B, number_M)
    blank_M, label_M = blank_M.double(), label_M.double()
    plain_R = sum_over_paths(nodes, blank_M[inverse_N], label_M[inverse_N])
    steered_R = plain_R
    if scorers.weighs_blank:
        # Rounding may leave the symbols less than one of them has.
        rest_M = torch.maximum((-torch.expm1(blank_M)).log(), label_M)
        of_label, of_blank = scorers.shifts(rest_M, blank_M)
        steered_R = sum_over_paths(nodes, (blank_M + of_blank)[inverse_N], (label_M + of_label)[inverse_N])
    scores = iter(zip(plain_R.tolist(), steered_R.tolist()))
    for b in streams:
        results[b] = [next(scores) for _ in found[b]]
    return results


class _Columns(NamedTuple):
    """The pairs of a prefix and the symbol after it in a stream's hypotheses."""

    symbols: list[int]  # (C,), the symbol after the prefix; 0 after a whole hypothesis
    outputs: list[torch.Tensor]  # (C,), the predictor's after the prefix
    places: list[list[int]]  # (hypotheses, U+1), the column of each prefix


def _columns(emissions: Sequence[Emission]) -> _Columns:
    symbols: list[int] = []
    outputs: list[torch.Tensor] = []
    places: list[list[int]] = []
    numbers: dict[tuple[int, int], int] = {}  # of each pair; a prefix goes by the pair that ends with its last symbol
    for emission in emissions:
        line, before = [], -1
        for symbol, output in zip([*emission.tokens, -1], emission.outputs, strict=True):
            number = numbers.setdefault((before, symbol), len(symbols))
            if number == len(symbols):
                symbols.append(max(symbol, 0))
                outputs.append(output)
            line.append(number)
            before = number
        places.append(line)
    return _Columns(symbols, outputs, places)


def _share(
    columns: Sequence[_Columns], encoder_BTH: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the symbols (B, C-1), the outputs (B, C, H), the numbers of columns (B,), and those of prefixes (R, U+1).

    There is a column more than the longest stream has, because the last one has no symbol.
    """
    widest = max(len(each.symbols) for each in columns)
    longest = max(len(line) for each in columns for line in each.places)
    targets_BC = torch.tensor([each.symbols + [0] * (widest - len(each.symbols)) for each in columns])
    outputs_BCH = encoder_BTH.new_zeros(len(columns), widest + 1, encoder_BTH.shape[2])
    for row, each in zip(outputs_BCH, columns):
        row[: len(each.outputs)] = torch.stack(each.outputs)
    counts_B = torch.tensor([len(each.symbols) for each in columns])
    places = [line + [0] * (longest - len(line)) for each in columns for line in each.places]
    return targets_BC.to(encoder_BTH.device), outputs_BCH, counts_B, torch.tensor(places)
