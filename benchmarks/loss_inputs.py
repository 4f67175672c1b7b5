"""Cases for the benchmark of the loss: their shapes, and inputs of the joint like those of a random or trained model.

Letters of the shapes: B utterances, T encoder frames, U target symbols, H joint width, V symbols with blank.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

SHAPES_CSV = Path(__file__).resolve().parents[2] / "shared" / "data" / "librispeech_shapes.csv"
LONGEST_SECONDS = 16.7  # limit on the utterances that the MLPerf model trains on
FEWER_TOKENS = 0.8  # tokens of a text with 1023 pieces, as a fraction of those with the 500 pieces of SHAPES_CSV
# T and U of each utterance. S2 are utterances of LibriSpeech, with V = 500.
S1 = ((150, 40),) * 4
S2 = ((242, 70), (421, 71), (346, 76), (63, 14), (267, 41), (401, 90), (198, 41), (315, 54))


@dataclass(frozen=True)
class Case:
    """The shapes of a batch."""

    name: str
    lengths: tuple[tuple[int, int], ...]  # T and U of each utterance
    vocabulary: int  # V; blank is the last symbol
    width: int = 512  # H

    @property
    def nodes(self) -> int:
        """Number of valid nodes."""
        return sum(frames * (labels + 1) for frames, labels in self.lengths)

    @property
    def padded_nodes(self) -> int:
        """Number of nodes with padding: B x longest T x (longest U + 1)."""
        return len(self.lengths) * max(t for t, _ in self.lengths) * (max(u for _, u in self.lengths) + 1)


@dataclass
class Inputs:
    """The arguments of `rnnt.transducer_loss`."""

    encoder: torch.Tensor  # (B, T, H)
    predictor: torch.Tensor  # (B, U+1, H)
    weight: torch.Tensor  # (V, H)
    bias: torch.Tensor  # (V,)
    targets: torch.Tensor  # (B, U)
    encoder_lengths: torch.Tensor  # (B,)
    target_lengths: torch.Tensor  # (B,)

    @property
    def learned(self) -> tuple[torch.Tensor, ...]:
        """The four tensors that need a gradient."""
        return self.encoder, self.predictor, self.weight, self.bias


def case(name: str, batch: int, seed: int) -> Case:
    """Return the case `toy`, `S1`, `S2` or `mlperf`.

    batch, seed: `mlperf` draws `batch` utterances of train-clean-100 with this seed; the others ignore both. Raises
    ValueError for another name, and for `mlperf` if the file of LibriSpeech's lengths is missing.
    """
    if name == "toy":
        return Case(name, ((7, 3), (5, 2), (9, 1)), 11, 16)
    if name == "S1":
        return Case(name, S1, 1024)
    if name == "S2":
        return Case(name, S2, 500)
    if name == "mlperf":
        return Case(f"mlperf-{batch}", _librispeech_lengths(batch, seed), 1024)
    raise ValueError(f"there is no case {name!r}; choose toy, S1, S2 or mlperf")


def _librispeech_lengths(batch: int, seed: int) -> tuple[tuple[int, int], ...]:
    """T and U of utterances drawn from SHAPES_CSV, with frames of 60 ms and tokens as many as with 1023 pieces."""
    if not SHAPES_CSV.exists():
        raise ValueError(f"the case mlperf needs the lengths of LibriSpeech's utterances in {SHAPES_CSV}")
    with open(SHAPES_CSV, encoding="utf-8", newline="") as file:
        rows = [(float(row["seconds"]), int(row["tokens"])) for row in csv.DictReader(file)]
    rows = [row for row in rows if row[0] <= LONGEST_SECONDS]
    drawn = np.random.default_rng(seed).choice(len(rows), batch, replace=False)
    return tuple((-int(-100 * rows[i][0] // 6), round(FEWER_TOKENS * rows[i][1])) for i in drawn)


def make_inputs(case: Case, kind: str, dtype: torch.dtype, device: str, seed: int = 0) -> Inputs:
    """Return inputs like those that a `random` or a `trained` model gives to the joint.

    dtype: type of encoder and predictor. Weight and bias are always float32, so bfloat16 gives the same types as
    training under autocast: activations in bfloat16, parameters in float32.
    """
    generator = torch.Generator().manual_seed(seed)
    batch, longest, widest = len(case.lengths), max(t for t, _ in case.lengths), max(u for _, u in case.lengths)
    shape = (batch, widest)
    targets = torch.randint(0, case.vocabulary - 1, shape, generator=generator)
    encoder = torch.randn(batch, longest, case.width, generator=generator)
    predictor = torch.randn(batch, widest + 1, case.width, generator=generator)
    weight = torch.randn(case.vocabulary, case.width, generator=generator) / case.width**0.5
    bias = torch.zeros(case.vocabulary)
    if kind == "trained":
        _train(case, encoder, predictor, weight, bias, targets, generator)
    encoder, predictor = encoder.to(dtype), predictor.to(dtype)
    encoder_lengths, target_lengths = torch.tensor(case.lengths).unbind(1)
    learned = [x.to(device).requires_grad_() for x in (encoder, predictor, weight, bias)]
    return Inputs(*learned, targets.to(device), encoder_lengths, target_lengths)


NOISE = 0.1  # scale of the noise in encoder and predictor, which stands for everything else that a real model encodes
GATE = 12.0  # by how much blank's logit falls, relative to the label's, between a certain blank and a certain label
RAMP = 4  # frames over which this happens
# Scale of the label's logit. For H = 512 it is 13.5 above the mean of the other labels' logits, and about 6 above their
# log-sum-exp.
SHARPNESS = 1.2


def _train(case, encoder_BTH, predictor_BUH, weight_VH, bias_V, targets_BU, generator) -> None:
    """Change random inputs into those of a model that knows the alignment about as well as a trained one.

    Alignment: the labels of an utterance fall on frames drawn at random. c(t) is the number of labels that are due by
    frame t; it rises by one over the RAMP frames around each label. Two hidden units depend on d = c(t) - u, the number
    of labels that are due at node (t, u): unit 0 is relu(d) and unit 1 is relu(d - 1), because the encoder holds c and
    c - 1 there, and the predictor -u. The difference of the units is d clipped to 0 .. 1. It moves blank's logit from
    GATE / 2 above the label's to GATE / 2 below. So each label is emitted within about three frames, and before and
    after them blank is nearly certain.

    Identity of the label: the other units of an encoder frame hold the weight of the next or latest label, plus r times
    the weight of a random rival. r is uniform in 0 .. 1. So some labels are certain and some are a choice of two; the
    latter make up most of the loss.
    """
    blank, width = case.vocabulary - 1, case.width
    encoder_BTH *= NOISE
    predictor_BUH *= NOISE
    weight_VH[:, :2] = 0.0
    weight_VH[blank] = 0.0
    weight_VH[blank, 0], weight_VH[blank, 1] = -GATE, GATE
    scale = SHARPNESS * width**0.5
    # relu keeps the positive half of the units, so the label's logit is w . relu(scale w) = scale |w|^2 / 2.
    bias_V[blank] = scale / 2 + GATE / 2
    predictor_BUH[:, :, :2] = -torch.arange(predictor_BUH.shape[1], dtype=torch.float32)[:, None]
    for b, (frames, labels) in enumerate(case.lengths):
        if labels > frames:
            raise ValueError(f"{case.name} has an utterance of {labels} labels in {frames} frames")
        at_U = torch.randperm(frames, generator=generator)[:labels].sort()[0]
        due_T = ((torch.arange(frames)[:, None] - at_U) / RAMP + 0.5).clamp(0, 1).sum(1)
        encoder_BTH[b, :frames, 0] = due_T
        encoder_BTH[b, :frames, 1] = due_T - 1
        if labels:
            rival_U = torch.randint(0, blank, (labels,), generator=generator)
            strength_U = torch.rand(labels, generator=generator)
            sound_UH = weight_VH[targets_BU[b, :labels]] + strength_U[:, None] * weight_VH[rival_U]
            near_T = (due_T.ceil().long() - 1).clamp(0, labels - 1)
            encoder_BTH[b, :frames, 2:] += scale * sound_UH[near_T][:, 2:]
