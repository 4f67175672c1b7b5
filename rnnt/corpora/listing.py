"""Lists of recordings with their texts: a table (TSV), or a JSON object in each line.

A table has the columns path and text, or a first line that names its columns in any order. A JSON object has the same
keys. The path is relative to the folder of the list; `audio` and `audio_filepath` are other names for it. Optional are
`speaker`, `id`, `offset` and `duration`: the utterance is `duration` seconds of the recording from `offset` (seconds).
Without `offset` it begins with the recording, and without `duration` it ends with it.

Quotes in a table are characters like any other: they neither join lines nor protect tabs.
"""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from rnnt.audio import AUDIO_SUFFIXES, read_audio
from rnnt.audio.terminal import quiet_decoder
from rnnt.corpora import Utterance
from rnnt.corpora.manifest import Entry, distinct, parse_json, to_name, to_seconds
from rnnt.text import read_lines

_PATH_KEYS = ("path", "audio", "audio_filepath")
_ROUNDING_SECONDS = 0.1  # a duration may differ from the recording's by this much, because it is rounded
_EXPECTED = "expected a path and a text (path<TAB>text, or a JSON object with both)"
_NO_QUOTING = "save the table without quoting, or write JSON lines"


def read_list(path: Path, problems: list[tuple[str, str]]) -> list[Utterance]:
    """Return the utterances of a list. Lines that make no sense are added to `problems`.

    Raises ValueError if the file is not UTF-8, or if the names of its columns are in quotes or not distinct.
    """
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    columns: list[str] | None = None
    if lines and not lines[0][1].lstrip().startswith("{"):
        columns = _header(path, lines[0][1])
        lines = lines[1:] if columns else lines
        columns = columns or ["path", "text"]
    entries: list[Entry] = []
    left_out: list[tuple[str, str]] = []
    for (number, line), (_, following) in zip(lines, [*lines[1:], (0, "")]):
        place = f"line {number}"
        try:
            value = _json(line) if columns is None else _row(line, following, columns)
            entries.append(_entry(value, path.parent, place))
        except ValueError as error:
            left_out.append((place, str(error)))
    utterances = distinct(entries, left_out)
    numbers = {f"line {number}": number for number, _ in lines}
    problems += sorted(left_out, key=lambda problem: numbers[problem[0]])
    return utterances


def _header(path: Path, line: str) -> list[str] | None:
    """Return the columns that the first line of a table names, or None if it names none."""
    cells = _cells(line.lower())
    bare = [cell.strip('"') for cell in cells]
    if not any(cell in _PATH_KEYS for cell in bare) or any(Path(cell).suffix in AUDIO_SUFFIXES for cell in bare):
        return None
    if bare != cells:
        raise ValueError(f"{path}: the names of the columns are in quotes; {_NO_QUOTING}")
    named = [cell for cell in cells if cell]
    if len(set(named)) < len(named):
        raise ValueError(f"{path}: two columns have the same name ({', '.join(named)}); rename one")
    return cells


def _json(line: str) -> Any:
    try:
        return parse_json(line)
    except ValueError:
        raise ValueError(_EXPECTED) from None


def _row(line: str, following: str, columns: list[str]) -> dict[str, str]:
    """Return the cells of a line by column. The following line tells whether a cell goes on there."""
    cells = _cells(line)
    if len(cells) != len(columns):
        raise ValueError(_EXPECTED)
    for cell in cells:
        inner = cell[1:-1]
        if cell[:1] == cell[-1:] == '"' and '""' in inner and '"' not in inner.replace('""', ""):
            raise ValueError(f"a cell is quoted as spreadsheets do it; {_NO_QUOTING}")
    if cells[-1].startswith('"') and cells[-1].count('"') % 2 and following and len(_cells(following)) != len(columns):
        raise ValueError(f"the last cell goes on in the next line; {_NO_QUOTING}")
    return dict(zip(columns, cells))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("\t")]


def _entry(value: Any, folder: Path, place: str) -> Entry:
    name = next((value[key] for key in _PATH_KEYS if value.get(key)), None) if isinstance(value, dict) else None
    if not isinstance(name, str) or not isinstance(value.get("text"), str):
        raise ValueError(_EXPECTED)
    offset, seconds = (to_seconds(value.get(key), key) for key in ("offset", "duration"))
    if seconds == 0:
        raise ValueError("'duration' must be more than 0")
    path = folder / name  # this is `name` if that is an absolute path
    if offset is None and seconds is not None:
        read = partial(_read_beginning, path, seconds=seconds)
    else:
        read = partial(read_audio, path, start=offset or 0.0, seconds=seconds)
    relative = path.relative_to(folder) if path.is_relative_to(folder) else path
    short_id = relative.with_suffix("").as_posix() + (f"@{offset:g}" if offset else "")
    full_id = relative.as_posix() + (f"@{offset}" if offset else "") + ("" if seconds is None else f"+{seconds}")
    if given := to_name(value.get("id"), "id"):
        short_id = full_id = given
    return Entry(Utterance(short_id, value["text"], to_name(value.get("speaker"), "speaker"), read), full_id, place)


def _read_beginning(path: Path, sample_rate: int, seconds: float) -> np.ndarray:
    """Read the first `seconds` of a recording: all of it, to the last sample, if they are its length rounded."""
    if _is_longer(path, seconds + _ROUNDING_SECONDS):
        with suppress(ValueError):  # the header may promise too much; then all of the file is read
            return read_audio(path, sample_rate, seconds=seconds)
    samples = read_audio(path, sample_rate)
    length = len(samples) / sample_rate
    if length < seconds - _ROUNDING_SECONDS:
        raise ValueError(f"{path}: is {length:.2f} s long, too short for {seconds:g} s")
    return samples if length <= seconds + _ROUNDING_SECONDS else samples[: round(seconds * sample_rate)]


def _is_longer(path: Path, seconds: float) -> bool:
    """Whether a file's header promises more than this length, so that it need not be read to its end."""
    try:
        with quiet_decoder():
            return soundfile.info(path).duration > seconds
    except (soundfile.SoundFileError, OSError, TypeError, ValueError, ZeroDivisionError):
        return False
