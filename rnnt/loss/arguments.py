"""Validates the losses' arguments, on the CPU, after a single copy from the device."""

from dataclasses import dataclass

import torch

ACTIVATIONS = ("relu", "tanh")


@dataclass(frozen=True)
class Lattices:
    """The lattices of a batch: how large each one is, and the symbols of its label arcs. Made by `check_lattices`.

    The tensors are on the device of the scores.
    """

    targets: torch.Tensor  # (B, U+1) int64; 0 at padding and in the last column, so that every entry is a symbol
    encoder_lengths: torch.Tensor  # (B,) int64, the valid T
    target_lengths: torch.Tensor  # (B,) int64, the valid U
    lengths: list[tuple[int, int]]  # the valid (T, U) of each utterance, as Python integers
    blank: int  # index of blank, not negative

    @property
    def nodes(self) -> int:
        """Number of valid nodes, of all utterances together."""
        return sum(frames * (labels + 1) for frames, labels in self.lengths)


def check_lattices(
    shape: tuple[int, int, int],
    vocabulary: int,
    device: torch.device,
    targets_BU: torch.Tensor,
    encoder_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank: int,
    scores: str,
    lengths: str,
) -> Lattices:
    """Validate the targets and lengths that belong to scores of `shape` (B, T, U+1) over `vocabulary` symbols.

    device: of the scores; scores, lengths: the caller's names for the scores and for `encoder_lengths`, used in
    error messages. Padding of the targets may hold anything.
    Returns the lattices, with tensors on `device`. Raises ValueError, with the argument's name and the utterance's
    index, for a wrong type, shape, length or symbol.
    """
    batch, longest, width = shape
    for name, value in (("targets", targets_BU), (lengths, encoder_lengths), ("target_lengths", target_lengths)):
        if value.is_floating_point():
            raise ValueError(f"{name} must hold integers, not {value.dtype}")
        if value.dim() != (2 if name == "targets" else 1):
            raise ValueError(f"{name} must be {'(B, U)' if name == 'targets' else '(B,)'}, not {tuple(value.shape)}")
        if len(value) != batch:
            raise ValueError(f"{name} is for {len(value)} utterances, {scores} for {batch}")
    if batch == 0:
        raise ValueError(f"{scores} hold no utterance")
    if targets_BU.shape[1] != width - 1:
        raise ValueError(f"targets are {tuple(targets_BU.shape)}, but {scores} need ({batch}, {width - 1})")
    targets_BU, encoder_lengths, target_lengths = _on_cpu(targets_BU, encoder_lengths, target_lengths)
    bounds = ((lengths, encoder_lengths, 1, longest), ("target_lengths", target_lengths, 0, width - 1))
    for name, value, low, high in bounds:
        wrong = ((value < low) | (value > high)).nonzero()
        if len(wrong):
            i = int(wrong[0])
            raise ValueError(f"{name}[{i}] is {int(value[i])}; it must lie between {low} and {high}")
    if not -vocabulary <= blank < vocabulary:
        raise ValueError(f"blank is {blank}; it must lie between {-vocabulary} and {vocabulary - 1}")
    blank %= vocabulary
    valid = torch.arange(width - 1) < target_lengths[:, None]
    wrong = (valid & ((targets_BU < 0) | (targets_BU >= vocabulary) | (targets_BU == blank))).nonzero()
    if len(wrong):
        i, u = wrong[0].tolist()
        kind = "blank" if int(targets_BU[i, u]) == blank else f"outside 0 .. {vocabulary - 1}"
        raise ValueError(f"targets[{i}, {u}] is {int(targets_BU[i, u])}, which is {kind}")
    targets = torch.nn.functional.pad(torch.where(valid, targets_BU, 0), (0, 1))
    pairs = list(zip(encoder_lengths.tolist(), target_lengths.tolist()))
    tensors = (x.to(device, non_blocking=True) for x in (targets, encoder_lengths, target_lengths))
    return Lattices(*tensors, pairs, blank)


def check_joint(
    encoder_BTH: torch.Tensor,
    predictor_BUH: torch.Tensor,
    weight_VH: torch.Tensor | None,
    bias_V: torch.Tensor | None,
    targets_BU: torch.Tensor,
    encoder_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank: int,
    activation: str,
    dropout: float = 0.0,
) -> Lattices:
    """Validate the joint network's inputs and settings, and its targets and lengths by `check_lattices`.

    The arguments are those of `transducer_loss`. Returns the lattices, with tensors on the encoder output's device.
    Raises ValueError, with the argument's name, for anything that does not fit.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; choose {' or '.join(ACTIVATIONS)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; it must be at least 0 and below 1")
    if encoder_BTH.dim() != 3 or predictor_BUH.dim() != 3:
        raise ValueError("encoder and predictor must be (B, T, H) and (B, U+1, H)")
    widths = {encoder_BTH.shape[2], predictor_BUH.shape[2]} | ({weight_VH.shape[1]} if weight_VH is not None else set())
    if len(widths) != 1:
        raise ValueError("encoder, predictor and weight differ in their last size, the joint's width H")
    if len(encoder_BTH) != len(predictor_BUH):
        raise ValueError(f"predictor is for {len(predictor_BUH)} utterances, encoder for {len(encoder_BTH)}")
    if (weight_VH is None) != (bias_V is None):
        raise ValueError("give both weight and bias, or None for both: the additive joint")
    if bias_V is not None and bias_V.shape != weight_VH.shape[:1]:
        raise ValueError(f"bias is {tuple(bias_V.shape)}, but weight is for {len(weight_VH)} symbols")
    return check_lattices(
        (*encoder_BTH.shape[:2], predictor_BUH.shape[1]),
        encoder_BTH.shape[2] if weight_VH is None else len(weight_VH),
        encoder_BTH.device,
        targets_BU, encoder_lengths, target_lengths, blank,
        scores="encoder and predictor", lengths="encoder_lengths",
    )  # fmt: skip


def _on_cpu(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """The tensors as int64 on the CPU. Those on a GPU are copied together, because each copy waits for the GPU."""
    if all(x.device.type == "cpu" for x in tensors):
        return [x.long() for x in tensors]
    device = next(x.device for x in tensors if x.device.type != "cpu")
    flat = torch.cat([x.to(device).flatten().long() for x in tensors]).cpu()
    return [values.view(x.shape) for values, x in zip(flat.split([x.numel() for x in tensors]), tensors)]


def reduce_losses(losses_B: torch.Tensor, reduction: str) -> torch.Tensor:
    """Return the losses unchanged ("none"), their mean ("mean") or their sum ("sum").

    Raises ValueError for another reduction.
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; choose none, mean or sum")
    return losses_B if reduction == "none" else getattr(losses_B, reduction)()
