"""Manifests: values as JSON or a table gives them, and ids that tell utterances apart."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnnt.corpora import Utterance

_LONGEST_SECONDS = 1e9  # 31 years; a larger number is no time in a recording


@dataclass(frozen=True)
class Entry:
    """An utterance as a manifest names it.

    The utterance has a short id. `full_id` also tells it from other audio with the same short id. `place` names the
    entry in the list of problems, such as "line 7".
    """

    utterance: Utterance
    full_id: str
    place: str


def distinct(entries: Sequence[Entry], problems: list[tuple[str, str]]) -> list[Utterance]:
    """Return the utterances, each with an id that no other has.

    Utterances of different audio with the same short id (of a.wav and a.flac, say) get their full ids. If the same
    audio is listed twice, the first entry stays and the others are added to `problems`.
    """
    full_ids: dict[str, str] = {}  # by short id: that of the first entry
    shared: set[str] = set()  # short ids of different audio
    for entry in entries:
        if full_ids.setdefault(entry.utterance.id, entry.full_id) != entry.full_id:
            shared.add(entry.utterance.id)
    utterances: list[Utterance] = []
    seen: set[str] = set()
    for entry in entries:
        utterance = entry.utterance
        if utterance.id in shared:
            utterance = replace(utterance, id=entry.full_id)
        if utterance.id in seen:
            problems.append((entry.place, f"the id {utterance.id} occurs twice"))
            continue
        seen.add(utterance.id)
        utterances.append(utterance)
    return utterances


def parse_json(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError, with the reason, if it is none that can be read."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error})") from None
    except ValueError:  # Python's own limit: converting such a number would take minutes
        raise ValueError("is not JSON that can be read (a number has thousands of digits)") from None
    except RecursionError:
        raise ValueError("is not JSON that can be read (it is nested too deeply)") from None


def to_name(value: Any, key: str) -> str:
    """Return the name of a speaker or an utterance as text, "" if it is not given.

    A number is a name too, and so is 0. None, a blank text and NaN (a missing value of pandas) mean that it is not
    given. Raises ValueError for other values; the message calls the value `key`.
    """
    if isinstance(value, str):
        return value if value.strip() else ""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key!r} must be a text or a number, not {_short(value)}")
    return str(value)


def to_seconds(value: Any, key: str) -> float | None:
    """Return a time in a recording in seconds, at least 0, or None if it is not given (None or an empty text).

    Raises ValueError for other values; the message calls the value `key`.
    """
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < _LONGEST_SECONDS:
        raise ValueError(f"{key!r} must be a number of seconds, at least 0 and less than 1e9, not {_short(value)}")
    return seconds


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
