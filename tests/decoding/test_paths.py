"""Linked lists become lists, and lists linked lists."""

import torch

from rnnt.decoding.paths import link_outputs, list_outputs, make_path, path_symbols


def test_paths_hold_symbols_in_their_order():
    path = ((((), 3, 0, -0.1), 1, 4, -0.2), 3, 4, -0.3)
    assert path_symbols(path) == ([3, 1, 3], [0, 4, 4], [-0.1, -0.2, -0.3])
    assert make_path(*path_symbols(path)) == path
    assert path_symbols(()) == ([], [], []) and make_path([], [], []) == ()


def test_outputs_come_in_the_order_of_symbols():
    first, second = torch.zeros(2), torch.ones(2)
    found = list_outputs(((None, first), second))
    assert found[0] is first and found[1] is second
    assert list_outputs(link_outputs(found)) == found and list_outputs(None) == []
