"""The searches offer what the interface asks for."""

import inspect

import pytest

from rnnt.decoding import Beam, Greedy, Search


@pytest.mark.parametrize("search", [Greedy, Beam])
@pytest.mark.parametrize("name", ["start", "advance", "finish", "best", "last_frames", "settle"])
def test_a_search_can_be_called_as_the_interface(name, search):
    wanted = inspect.signature(getattr(Search, name)).parameters
    found = inspect.signature(getattr(search, name)).parameters
    assert list(found)[: len(wanted)] == list(wanted)
    assert all(value.default is not value.empty for value in list(found.values())[len(wanted) :])
