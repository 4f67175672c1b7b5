"""Fields of settings: the values that each kind of range allows, and error messages that name the key."""

import math
from dataclasses import dataclass

import pytest

from rnnt.fields import at_least, below_one, between, check, check_order, finite, one_of, positive, setting

RANGES = [
    (one_of("a", "b"), ["a", "b"], ["", "c"], "one of a, b"),
    (at_least(2), [2, 3.5, math.inf], [1.9, -math.inf, math.nan], "at least 2"),
    (finite(0), [0, 7], [-1, math.inf, math.nan], "finite and at least 0"),
    (finite(), [-7, 0], [math.inf, -math.inf, math.nan], "finite"),
    (positive(), [1e-9, 5], [0, -1, math.inf, math.nan], "finite and above 0"),
    (between(0, 1), [0, 0.5, 1], [-0.1, 1.1, math.nan], "between 0 and 1"),
    (below_one(), [0, 0.999], [1, -0.1, math.nan], "at least 0 and below 1"),
]


@pytest.mark.parametrize(("allowed", "good", "bad", "words"), RANGES, ids=[words for *_, words in RANGES])
def test_what_a_range_allows(allowed, good, bad, words):
    @dataclass(frozen=True)
    class Settings:
        value: object = setting(good[0], "a value", allowed)

        def __post_init__(self):
            check("section.", self)

    assert Settings().value == good[0]
    for value in good:
        Settings(value)
    for value in bad:
        with pytest.raises(ValueError) as caught:
            Settings(value)
        assert str(caught.value) == f"section.value is {value!r}; it must be {words}"


def test_the_order_of_two_fields():
    @dataclass(frozen=True)
    class Settings:
        low: int = 1
        high: int = 2

    check_order("x.", Settings(2, 2), "low", "high")
    with pytest.raises(ValueError, match=r"^x\.low is 3; it must be at most x\.high \(2\)$"):
        check_order("x.", Settings(3, 2), "low", "high")
