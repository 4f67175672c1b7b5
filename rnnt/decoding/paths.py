"""The linked lists of beam search: hypotheses share those of their prefixes, and the latest entry is the head."""

from collections.abc import Sequence

import torch

Path = tuple | None  # (path before, symbol, frame, log-probability); () if empty, None for no hypothesis
Outputs = tuple | None  # (outputs before, projected output of the predictor (H,)); None before the first


def path_symbols(path: Path) -> tuple[list[int], list[int], list[float]]:
    """Return the symbols of a path, the frames that emit them, and their log-probabilities."""
    symbols = []
    while path:
        path, *symbol = path
        symbols.append(symbol)
    return tuple([symbol[i] for symbol in reversed(symbols)] for i in range(3))


def make_path(tokens: Sequence[int], frames: Sequence[int], log_probs: Sequence[float]) -> Path:
    """Return the path of these symbols."""
    path = ()
    for symbol in zip(tokens, frames, log_probs, strict=True):
        path = (path, *symbol)
    return path


def list_outputs(outputs: Outputs) -> list[torch.Tensor]:
    """Return the predictor's projected outputs (H,) before the first symbol of a hypothesis and after each."""
    found = []
    while outputs is not None:
        outputs, last = outputs
        found.append(last)
    return found[::-1]


def link_outputs(found: Sequence[torch.Tensor]) -> Outputs:
    """Return the linked list of these outputs."""
    outputs = None
    for output in found:
        outputs = outputs, output
    return outputs
