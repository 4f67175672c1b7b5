"""Validates the losses' arguments, on the CPU, after a single copy from the device."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Lattices:
    """The lattices of a batch, on the scores' device.

    targets: (B, U+1) int64, a valid symbol everywhere; frames, labels: (B,) int64 valid T and U; sizes: the same on
    the host; blank: not negative.
    """

    targets: torch.Tensor
    frames: torch.Tensor
    labels: torch.Tensor
    sizes: list[tuple[int, int]]
    blank: int

    @property
    def nodes(self) -> int:
        """Valid nodes of all utterances."""
        return sum(frames * (labels + 1) for frames, labels in self.sizes)


def check(
    shape: tuple[int, int, int],
    vocabulary: int,
    device: torch.device,
    targets_BU: torch.Tensor,
    frames: torch.Tensor,
    labels: torch.Tensor,
    blank: int,
    names: dict[str, str],
) -> Lattices:
    """Raise ValueError, naming argument and utterance, unless all fits (B, T, U+1) scores of `vocabulary` symbols.

    names: what the caller calls the `scores`, the `frames` and the `labels`.
    """
    batch, size, width = shape
    for name, value in (("targets", targets_BU), (names["frames"], frames), (names["labels"], labels)):
        if value.is_floating_point():
            raise ValueError(f"{name} must hold integers, not {value.dtype}")
        if value.dim() != (2 if name == "targets" else 1):
            raise ValueError(f"{name} must be {'(B, U)' if name == 'targets' else '(B,)'}, not {tuple(value.shape)}")
        if len(value) != batch:
            raise ValueError(f"{name} is for {len(value)} utterances, {names['scores']} for {batch}")
    if batch == 0:
        raise ValueError(f"{names['scores']} hold no utterance")
    if targets_BU.shape[1] != width - 1:
        raise ValueError(f"targets are {tuple(targets_BU.shape)}, but {names['scores']} need ({batch}, {width - 1})")
    targets_BU, frames, labels = _on_host(targets_BU, frames, labels)
    for name, value, low, high in ((names["frames"], frames, 1, size), (names["labels"], labels, 0, width - 1)):
        wrong = ((value < low) | (value > high)).nonzero()
        if len(wrong):
            i = int(wrong[0])
            raise ValueError(f"{name}[{i}] is {int(value[i])}; it must lie between {low} and {high}")
    if not -vocabulary <= blank < vocabulary:
        raise ValueError(f"blank is {blank}; it must lie between {-vocabulary} and {vocabulary - 1}")
    blank %= vocabulary
    valid = torch.arange(width - 1) < labels[:, None]
    wrong = (valid & ((targets_BU < 0) | (targets_BU >= vocabulary) | (targets_BU == blank))).nonzero()
    if len(wrong):
        i, u = wrong[0].tolist()
        kind = "blank" if int(targets_BU[i, u]) == blank else f"outside 0 .. {vocabulary - 1}"
        raise ValueError(f"targets[{i}, {u}] is {int(targets_BU[i, u])}, which is {kind}")
    targets = torch.nn.functional.pad(torch.where(valid, targets_BU, 0), (0, 1))
    sizes = list(zip(frames.tolist(), labels.tolist()))
    return Lattices(*(x.to(device, non_blocking=True) for x in (targets, frames, labels)), sizes, blank)


def _on_host(*tensors: torch.Tensor) -> list[torch.Tensor]:
    if all(x.device.type == "cpu" for x in tensors):
        return [x.long() for x in tensors]
    device = next(x.device for x in tensors if x.device.type != "cpu")
    flat = torch.cat([x.to(device).flatten().long() for x in tensors]).cpu()
    return [part.view(x.shape) for part, x in zip(flat.split([x.numel() for x in tensors]), tensors)]


def reduce_losses(losses_B: torch.Tensor, reduction: str) -> torch.Tensor:
    """The losses as they are ("none"), their mean or their sum. Raises ValueError for another name."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; choose none, mean or sum")
    return losses_B if reduction == "none" else getattr(losses_B, reduction)()
