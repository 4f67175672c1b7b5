"""States are joined and split along the streams."""

from typing import NamedTuple

import torch

from rnnt.stream_states import join_states, split_state


class State(NamedTuple):
    LISTS = ("notes",)
    numbers: torch.Tensor
    nested: tuple
    empty: tuple
    notes: tuple


def state(number):
    rows = torch.full((1, 2), float(number))
    return State(rows, (rows[:, 0], (rows.long(),)), (), ((number, [number]),))


def same(a, b):
    assert torch.equal(a.numbers, b.numbers) and torch.equal(a.nested[0], b.nested[0])
    assert torch.equal(a.nested[1][0], b.nested[1][0]) and (a.empty, a.notes) == (b.empty, b.notes)


def test_states_are_joined_in_order():
    joined = join_states([state(3), state(1), state(2)])
    assert joined.numbers.tolist() == [[3, 3], [1, 1], [2, 2]]
    assert joined.nested[1][0].tolist() == [[3, 3], [1, 1], [2, 2]]
    assert joined.notes == ((3, [3]), (1, [1]), (2, [2])) and joined.empty == ()


def test_what_is_split_was_joined_and_shares_no_memory():
    states = [state(3), state(1), state(2)]
    joined = join_states(states)
    parts = split_state(joined, 3)
    for part, expected in zip(parts, states, strict=True):
        same(part, expected)
    joined.numbers.zero_()
    same(parts[1], states[1])


def test_a_single_state_is_not_copied():
    one = state(5)
    assert join_states([one]) is one and split_state(one, 1)[0] is one
