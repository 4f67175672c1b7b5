"""The state of beam search: what it holds, and what a long stream may forget of it."""

from collections.abc import Sequence
from dataclasses import fields
from typing import NamedTuple

import numpy as np
import torch

from rnnt.decoding.frontier import Frontier
from rnnt.decoding.paths import Outputs, Path, link_outputs, list_outputs, make_path, path_symbols
from rnnt.decoding.rescoring import Emission


class BeamState(NamedTuple):
    """The progress of each stream. Every field has the streams as dim 0, or is a tuple with an entry for each.

    `predicted`, `predictor` and `scorers` are on the model's device, the other fields on the host.
    """

    LISTS = ("paths", "frames", "outputs")  # with an entry for each stream (see `rnnt.stream_states`)
    predicted: torch.Tensor  # (B, P, H), the predictor's projected outputs
    predictor: tuple[torch.Tensor, ...]  # (B, P, L, D), its states
    scorers: tuple  # the scorers' states, whose tensors are (B, P, ...)
    max_symbols: torch.Tensor  # (B,)
    received: torch.Tensor  # (B,), frames so far
    score: torch.Tensor  # from here on see `Frontier`
    best: torch.Tensor
    bonus: torch.Tensor
    count: torch.Tensor
    symbol: torch.Tensor
    key: torch.Tensor
    prefix: torch.Tensor
    paths: tuple[tuple[Path, ...], ...]
    frames: tuple[tuple[torch.Tensor, ...], ...]  # the latest projected encoder frames, (T, H), on the device
    outputs: tuple[tuple[Outputs, ...], ...]  # of the predictor for each hypothesis and its prefixes, on the device


def to_state(frontier: Frontier) -> dict[str, torch.Tensor | tuple]:
    """Return the fields of a frontier as those of a state."""
    found = {item.name: getattr(frontier, item.name) for item in fields(Frontier)}
    paths = tuple(map(tuple, found.pop("paths")))
    return {name: torch.from_numpy(x) for name, x in found.items()} | {"paths": paths}


def to_frontier(state: BeamState) -> Frontier:
    """Return a frontier with the hypotheses of a state, which does not change with it."""
    paths = np.empty(state.key.shape, object)
    for row, line in enumerate(state.paths):
        for place, path in enumerate(line):
            paths[row, place] = path
    names = (item.name for item in fields(Frontier))
    return Frontier(**{name: paths if name == "paths" else getattr(state, name).numpy().copy() for name in names})


def places_of(paths: Sequence[Path]) -> list[int]:
    """Return the places of a stream's hypotheses."""
    return [place for place, path in enumerate(paths) if path is not None]


def ranked(state: BeamState) -> list[tuple[list[int], list[float]]]:
    """Return, for each stream, the places of its hypotheses, the best first, and the rank of each place."""
    ranks = (state.score[..., -1] + state.bonus).tolist()
    return [(sorted(places_of(paths), key=lambda p: -rank[p]), rank) for paths, rank in zip(state.paths, ranks)]


def settle_beam(state: BeamState, tokens: Sequence[int], alone: bool) -> BeamState:
    """Drop the hypotheses of a single stream that do not begin with `tokens`, and if `alone`, those that go on.

    These tokens are forgotten, and the frames before the first symbol that is left. Hypotheses that go on keep their
    scores, and the states of the predictor and the scorers.
    """
    count, rest = len(tokens), {}
    for place in ranked(state)[0][0]:
        symbols, frames, log_probs = path_symbols(state.paths[0][place])
        if symbols[: None if alone else count] == list(tokens):
            rest[place] = symbols[count:], frames[count:], log_probs[count:]
    frontier = to_frontier(state)
    frontier.drop((0, np.array([place for place in range(frontier.key.shape[1]) if place not in rest], int)))
    for place, symbols in rest.items():
        frontier.paths[0, place] = make_path(*symbols)
    received = int(state.received[0])
    first = min((frames[0] for _, frames, _ in rest.values() if frames), default=received)
    frames = torch.cat([state.predicted[0, :0], *state.frames[0]])
    frames = frames[len(frames) - received + first :].clone()
    outputs = (
        link_outputs(list_outputs(x)[count:]) if place in rest else None for place, x in enumerate(state.outputs[0])
    )
    return state._replace(**to_state(frontier), frames=((frames,) if len(frames) else (),), outputs=(tuple(outputs),))


def emission_of(state: BeamState, stream: int, place: int, forgotten: int) -> Emission:
    """Return what rescoring needs of a hypothesis. forgotten: frames of the stream that the state no longer has."""
    tokens, frames, log_probs = path_symbols(state.paths[stream][place])
    outputs = list_outputs(state.outputs[stream][place])
    return Emission(tokens, [frame - forgotten for frame in frames], log_probs, outputs)
