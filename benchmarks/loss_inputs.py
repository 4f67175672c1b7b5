"""What the loss is measured on: shapes, and inputs of the joint as an untrained and as a trained model gives them."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

SHAPES_CSV = Path(__file__).resolve().parents[2] / "shared" / "data" / "librispeech_shapes.csv"
LONGEST_SECONDS = 16.7  # what the MLPerf model trains on
FEWER_TOKENS = 0.8  # with 1023 pieces, of the tokens with 500
S1 = ((150, 40),) * 4
S2 = ((242, 70), (421, 71), (346, 76), (63, 14), (267, 41), (401, 90), (198, 41), (315, 54))  # LibriSpeech's, V = 500


@dataclass(frozen=True)
class Case:
    """Shapes: T and U of each utterance, the vocabulary with blank as its last symbol, the joint's width."""

    name: str
    sizes: tuple[tuple[int, int], ...]
    vocabulary: int
    width: int = 512

    @property
    def nodes(self) -> int:
        """Valid nodes."""
        return sum(frames * (labels + 1) for frames, labels in self.sizes)

    @property
    def padded_nodes(self) -> int:
        """Nodes of the (B, T, U+1) box around all utterances."""
        return len(self.sizes) * max(t for t, _ in self.sizes) * (max(u for _, u in self.sizes) + 1)


@dataclass
class Inputs:
    """The arguments of `rnnt.transducer_loss`. The four tensors with a gradient come first."""

    encoder: torch.Tensor  # (B, T, H)
    predictor: torch.Tensor  # (B, U+1, H)
    weight: torch.Tensor  # (V, H)
    bias: torch.Tensor  # (V,)
    targets: torch.Tensor  # (B, U)
    frames: torch.Tensor  # (B,)
    labels: torch.Tensor  # (B,)

    @property
    def learned(self) -> tuple[torch.Tensor, ...]:
        return self.encoder, self.predictor, self.weight, self.bias


def case(name: str, batch: int, seed: int) -> Case:
    """`toy`, `S1`, `S2` or `mlperf`: `batch` utterances of train-clean-100. Raises ValueError for another name."""
    if name == "toy":
        return Case(name, ((7, 3), (5, 2), (9, 1)), 11, 16)
    if name == "S1":
        return Case(name, S1, 1024)
    if name == "S2":
        return Case(name, S2, 500)
    if name == "mlperf":
        return Case(f"mlperf-{batch}", _librispeech_sizes(batch, seed), 1024)
    raise ValueError(f"there is no case {name!r}; choose toy, S1, S2 or mlperf")


def _librispeech_sizes(batch: int, seed: int) -> tuple[tuple[int, int], ...]:
    """T and U of utterances drawn with a seed: frames of 60 ms, and fewer tokens than the file's 500 pieces give."""
    if not SHAPES_CSV.exists():
        raise ValueError(f"the case mlperf needs the lengths of LibriSpeech's utterances in {SHAPES_CSV}")
    with open(SHAPES_CSV, encoding="utf-8", newline="") as file:
        rows = [(float(row["seconds"]), int(row["tokens"])) for row in csv.DictReader(file)]
    rows = [row for row in rows if row[0] <= LONGEST_SECONDS]
    drawn = np.random.default_rng(seed).choice(len(rows), batch, replace=False)
    return tuple((-int(-100 * rows[i][0] // 6), round(FEWER_TOKENS * rows[i][1])) for i in drawn)


def make_inputs(case: Case, kind: str, dtype: torch.dtype, device: str, seed: int = 0) -> Inputs:
    """Inputs of a `random` or a `trained` model. Encoder and predictor are of `dtype`, weight and bias float32.

    `dtype` of bfloat16 thus means what autocast gives a trainer: half-precision activations, float32 parameters.
    """
    generator = torch.Generator().manual_seed(seed)
    batch, longest, widest = len(case.sizes), max(t for t, _ in case.sizes), max(u for _, u in case.sizes)
    shape = (batch, widest)
    targets = torch.randint(0, case.vocabulary - 1, shape, generator=generator)
    encoder = torch.randn(batch, longest, case.width, generator=generator)
    predictor = torch.randn(batch, widest + 1, case.width, generator=generator)
    weight = torch.randn(case.vocabulary, case.width, generator=generator) / case.width**0.5
    bias = torch.zeros(case.vocabulary)
    if kind == "trained":
        _train(case, encoder, predictor, weight, bias, targets, generator)
    encoder, predictor = encoder.to(dtype), predictor.to(dtype)
    frames, labels = torch.tensor(case.sizes).unbind(1)
    learned = [x.to(device).requires_grad_() for x in (encoder, predictor, weight, bias)]
    return Inputs(*learned, targets.to(device), frames, labels)


NOISE = 0.1  # of encoder and predictor, in place of all that a real model knows beside
GATE = 12.0  # logits between a blank that is sure and a label that is sure
RAMP = 4  # frames over which a label becomes due
SHARPNESS = 1.2  # of a label's own logit: 13.5 above the mean of the others for H = 512, about 6 above their sum


def _train(case, encoder_BTH, predictor_BUH, weight_VH, bias_V, targets_BU, generator) -> None:
    """Overwrite what was drawn by a model that knows the alignment, as sharply as a trained one.

    Each utterance's labels fall on frames drawn at random. The place c(t) = how many labels are due at frame t rises by
    one within RAMP frames around each. Two hidden units see d = c(t) - u of a node: relu(d) and relu(d - 1), where the
    encoder holds c and c - 1 and the predictor -u. Their difference, d clipped to 0 .. 1, moves blank's logit from
    GATE / 2 above the label's to GATE / 2 below. So a label comes within some three frames, with probabilities between,
    and blanks before and after. All other units carry the label: the encoder's frame is the weight of the label that is
    coming or came last, plus r times that of a rival, where r, uniform from 0 to 1 for each label, makes some labels
    certain and others a choice of two; there lies most of the loss.
    """
    blank, width = case.vocabulary - 1, case.width
    encoder_BTH *= NOISE
    predictor_BUH *= NOISE
    weight_VH[:, :2] = 0.0
    weight_VH[blank] = 0.0
    weight_VH[blank, 0], weight_VH[blank, 1] = -GATE, GATE
    scale = SHARPNESS * width**0.5
    # A positive half of the units: w . relu(scale w) = scale |w|^2 / 2.
    bias_V[blank] = scale / 2 + GATE / 2
    predictor_BUH[:, :, :2] = -torch.arange(predictor_BUH.shape[1], dtype=torch.float32)[:, None]
    for b, (frames, labels) in enumerate(case.sizes):
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
