"""The origin of a split: a fingerprint of the utterances and audio files that it is made of.

Files are compared as cheaply as possible, and a corpus may be moved. Other names or sizes mean other audio. Equal sizes
and equal dates of change mean the same audio. If only the dates differ, as after copying, the contents are compared.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from rnnt.corpora import Split, Utterance, read_utterance
from rnnt.files import sha256_of


@dataclass(frozen=True)
class Origin:
    """A split before its audio is read.

    fingerprint: SHA-256 of the ids, texts, speakers and known times, the arguments with which audio is read, the names
    and sizes of its files, and the settings. A name is relative to the folder that holds all files. Of a split of
    symbols, the symbols take the place of what concerns audio. dates: SHA-256 of the dates when the files were changed.
    """

    fingerprint: str
    dates: str


def find_origin(split: Split, *settings: int) -> Origin:
    """Return the origin of a split that is prepared with these settings. No file is opened."""
    known = cache(_size_and_date)  # a recording may hold many utterances
    fingerprint = hashlib.sha256(json.dumps(settings).encode())
    dates = hashlib.sha256()
    heard = split.utterances if split.input == "audio" else ()
    folders = {os.path.abspath(path.parent) for utterance in heard for path in _files(utterance.read)}
    above = os.path.commonpath(folders) if folders else ""
    for utterance in split.utterances:
        if split.input == "symbols":
            parts = [utterance.id, utterance.text, utterance.speaker, read_utterance(utterance, 0)]
            fingerprint.update(json.dumps(parts).encode())
            continue
        files = [(os.path.abspath(path)[len(above) :], *known(path)) for path in _files(utterance.read)]
        parts = [utterance.id, utterance.text, utterance.speaker, _describe(utterance.read)]
        parts += [utterance.times] if utterance.times else []  # other corpora keep the fingerprints of earlier versions
        fingerprint.update(json.dumps([*parts, [(name, size) for name, size, _ in files]]).encode())
        dates.update(json.dumps([date for *_, date in files]).encode())
    for identity, _ in split.problems:  # the reasons name files, which may be moved
        fingerprint.update(json.dumps(identity).encode())
    return Origin(fingerprint.hexdigest(), dates.hexdigest())


def file_sums(utterance: Utterance) -> list[str]:
    """Return the SHA-256 of each file of an utterance."""
    return [_sum(path, _size_and_date(path)) for path in _files(utterance.read)]


def add_contents(contents: str, sums: Sequence[str]) -> str:
    """Return a SHA-256 of the files of all utterances so far, given that of those before ("" for none)."""
    return hashlib.sha256(" ".join([contents, *sums]).encode()).hexdigest() if sums else contents


def _size_and_date(path: Path) -> tuple[int, int]:
    """Return a file's size and the date of its last change (ns); -1 for both if it cannot be found."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return -1, -1
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1 << 16)
def _sum(path: Path, _size_and_date: tuple[int, int]) -> str:
    try:
        return sha256_of(path)
    except (OSError, ValueError):
        return "unreadable"


def _files(value: Any) -> Iterator[Path]:
    """Yield the paths among the arguments of a function that reads audio."""
    if isinstance(value, Path):
        yield value
    else:
        for part in _parts(value):
            yield from _files(part)


def _describe(value: Any) -> Any:
    """Return a function with its arguments as JSON allows it. Paths are left out: their files are compared instead.

    Numbers, texts, bytes, arrays, lists, tuples, dicts, dataclasses and functions with bound arguments are described
    in full, other objects by their type alone.
    """
    if isinstance(value, Path):
        return "file"
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, bytes):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    return [_name(value), *map(_describe, _parts(value))]


def _parts(value: Any) -> list[Any]:
    """Return the parts of a function's argument, or of a function whose first arguments are bound."""
    if isinstance(value, type):
        return []
    if isinstance(value, partial):
        return [value.func, *value.args, value.keywords]
    if isinstance(value, dict):
        if value.get("type") == "file" and isinstance(value.get("source"), str):  # of a recording of lhotse
            return [Path(part) if key == "source" else part for key, part in value.items()]
        return [part for item in value.items() for part in item]
    if isinstance(value, list | tuple):
        return list(value)
    if hasattr(value, "to_dict"):  # of a cut of lhotse
        return [value.to_dict()]
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    return [value.__self__] if hasattr(value, "__self__") else []


def _name(value: Any) -> str:
    named = value if isinstance(value, Callable) and hasattr(value, "__qualname__") else type(value)
    return named.__qualname__
