"""The states of streams, joined to a batch and split again.

A state is a tensor with the streams as dim 0, or a tuple of states. A NamedTuple may name fields in `LISTS` that are
tuples with an entry for each stream instead.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch

State = TypeVar("State")


def join_states(states: Sequence[State]) -> State:
    """Return the state of all streams together, in order. A single state is returned as it is."""
    first = states[0]
    if len(states) == 1:
        return first
    if isinstance(first, torch.Tensor):
        return torch.cat(list(states))
    if hasattr(first, "_fields"):
        lists = getattr(type(first), "LISTS", ())
        fields = zip(first._fields, zip(*states))
        return type(first)(*(sum(parts, ()) if name in lists else join_states(parts) for name, parts in fields))
    return tuple(join_states(parts) for parts in zip(*states))


def split_state(state: State, batch: int) -> list[State]:
    """Return the state of each of the streams alone. None shares memory with the others."""
    if batch == 1:
        return [state]
    if isinstance(state, torch.Tensor):
        return [x.clone() for x in state.split(1)]
    if hasattr(state, "_fields"):
        lists = getattr(type(state), "LISTS", ())
        fields = [
            [(entry,) for entry in part] if name in lists else split_state(part, batch)
            for name, part in zip(state._fields, state)
        ]
        return [type(state)(*parts) for parts in zip(*fields)]
    if not state:
        return [state] * batch
    return list(zip(*(split_state(part, batch) for part in state)))
