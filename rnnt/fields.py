"""Fields of the settings dataclasses: a default, a line that explains it, and the values that are allowed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Allowed:
    """Values that a setting may have; `words` completes the sentence "it must be ..."."""

    holds: Callable[[Any], bool]
    words: str


def one_of(*choices: str) -> Allowed:
    """Allow only these words."""
    return Allowed(lambda value: value in choices, f"one of {', '.join(choices)}")


def at_least(low: float) -> Allowed:
    """Allow numbers from `low` on, infinity included. NaN is refused."""
    return Allowed(lambda value: low <= value, f"at least {low}")


def finite(low: float = -math.inf) -> Allowed:
    """Allow finite numbers from `low` on."""
    bound = f" and at least {low}" if low > -math.inf else ""
    return Allowed(lambda value: low <= value and math.isfinite(value), f"finite{bound}")


def positive() -> Allowed:
    """Allow finite numbers above 0."""
    return Allowed(lambda value: 0 < value < math.inf, "finite and above 0")


def between(low: float, high: float) -> Allowed:
    """Allow numbers from `low` to `high`, both included."""
    return Allowed(lambda value: low <= value <= high, f"between {low} and {high}")


def count(low: int = 1, high: int = 10**9) -> Allowed:
    """Allow whole numbers from `low` to `high`, which is beyond any sensible value."""
    return between(low, high)


def error_rate() -> Allowed:
    """Allow error rates as fractions. A percentage, which people may give instead, would always be reached."""
    return Allowed(lambda value: 0 <= value <= 1, "between 0 and 1: write 5.8 % as 0.058")


def below_one() -> Allowed:
    """Allow numbers from 0 up to, but not including, 1."""
    return Allowed(lambda value: 0 <= value < 1, "at least 0 and below 1")


def setting(default: Any, explanation: str, allowed: Allowed | None = None) -> Any:
    """Return a dataclass field with this default; the rest is as in `explained`."""
    return field(default=default, metadata=explained(explanation, allowed))


def explained(explanation: str, allowed: Allowed | None = None) -> dict[str, Any]:
    """Return the metadata of a dataclass field: an explanation and the values that are allowed.

    explanation: one line without a full stop, with the unit and with all choices; `rnnt settings` prints it.
    """
    return {"explanation": explanation, "allowed": allowed}


def check(section: str, settings: Any) -> None:
    """Raise ValueError if a field has a value that is not allowed. The message begins with the setting's key."""
    for item in fields(settings):
        allowed: Allowed | None = item.metadata.get("allowed")
        value = getattr(settings, item.name)
        if allowed is not None and not allowed.holds(value):
            raise ValueError(f"{section}{item.name} is {value!r}; it must be {allowed.words}")


def check_order(section: str, settings: Any, low: str, high: str) -> None:
    """Raise ValueError if the field `low` is above the field `high`."""
    least, most = getattr(settings, low), getattr(settings, high)
    if least > most:
        raise ValueError(f"{section}{low} is {least}; it must be at most {section}{high} ({most})")
