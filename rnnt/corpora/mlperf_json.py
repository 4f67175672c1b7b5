"""The JSON manifests of the MLPerf RNN-T reference (github.com/mlcommons/training, rnn_speech_recognition).

A manifest is a list of {"transcript": "...", "files": [{"fname": "train-clean-100-wav/103/...wav", "speed": 1, ...}]}.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rnnt.audio import read_audio
from rnnt.corpora import Split, Utterance
from rnnt.corpora.manifest import Entry, distinct, parse_json
from rnnt.text import read_text, reason
from rnnt.tree import visible_paths

_LIBRISPEECH_ID = re.compile(r"(\d+)-\d+-\d+")


def splits(source: Path) -> dict[str, Split]:
    """Find the utterances of a manifest, or of each `.json` in a folder; each manifest is a split.

    A split has the name of the LibriSpeech part: that of `librispeech-dev-clean-wav.json` is `dev-clean`. If an
    utterance has several files, the one at speed 1 is used, or else the first. Paths are relative to the folder of the
    manifest or to the folder above. Hidden files are left out. Raises ValueError for a file with another layout.
    """
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    paths = [source] if source.is_file() else [path for path in visible_paths(source) if path.suffix == ".json"]
    if not paths:
        raise ValueError(f"{source}: expected a manifest of the MLPerf reference, or a folder with such .json files")
    found: dict[str, Split] = {}
    for path in paths:
        name = path.stem.removeprefix("librispeech-").removesuffix("-wav")
        if name in found:
            raise ValueError(f"{path}: a second manifest for the split {name!r}; prepare it on its own")
        problems: list[tuple[str, str]] = []
        found[name] = Split(distinct(list(_entries(path, problems)), problems), problems)
    return found


def _entries(path: Path, problems: list[tuple[str, str]]) -> Iterator[Entry]:
    text = read_text(path)
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(values, list):
        raise ValueError(f'{path}: expected a list of {{"transcript": ..., "files": [{{"fname": ...}}]}}')
    for number, value in enumerate(values):
        place = f"{path.stem}[{number}]"
        try:
            files = value["files"]
            name = next((file for file in files if float(file.get("speed", 1)) == 1), files[0])["fname"]
            yield _entry(path.parent, name, value["transcript"], place)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            problems.append((place, "the entry has no transcript or no files with a fname"))
        except OSError as error:
            problems.append((place, reason(error, limit=None)))


def _entry(folder: Path, name: Any, text: Any, place: str) -> Entry:
    if not isinstance(name, str) or not isinstance(text, str):
        raise TypeError(name, text)
    # The reference writes paths relative to the folder of the dataset, and its manifests there or one folder below.
    path = next((base / name for base in (folder, folder.parent) if (base / name).is_file()), folder / name)
    identity = _LIBRISPEECH_ID.fullmatch(path.stem)
    utterance = Utterance(path.stem, text, identity[1] if identity else "", partial(read_audio, path))
    return Entry(utterance, Path(name).as_posix(), place)
