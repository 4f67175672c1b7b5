"""The limits of a server."""

import pytest

from rnnt.serve.limits import Limits


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_must_be_above_0(value):
    for name in vars(Limits()):
        with pytest.raises(ValueError, match=f"limit {name} is {value}"):
            Limits(**{name: value})
