"""The JSON manifests of the MLPerf RNN-T reference (github.com/mlcommons/training, rnn_speech_recognition).

A manifest is a list of {"transcript": "...", "files": [{"fname": "train-clean-100-wav/103/...wav", "speed": 1, ...}]}.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rnnt.audio import read_audio
from rnnt.corpora import Split, Utterance
from rnnt.text import read_text

_LIBRISPEECH_ID = re.compile(r"(\d+)-\d+-\d+")


def splits(source: Path) -> dict[str, Split]:
    """Find the utterances of a manifest, or of each `.json` in a folder; each manifest is a split.

    A split has the name of the LibriSpeech part: that of `librispeech-dev-clean-wav.json` is `dev-clean`. If an
    utterance has several files, the one at speed 1 is used, or else the first. Paths are relative to the folder of the
    manifest or to the folder above. Raises ValueError for a file with another layout.
    """
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    paths = [source] if source.is_file() else sorted(source.glob("*.json"))
    if not paths:
        raise ValueError(f"{source}: expected a manifest of the MLPerf reference, or a folder with such .json files")
    found: dict[str, Split] = {}
    for path in paths:
        name = path.stem.removeprefix("librispeech-").removesuffix("-wav")
        if name in found:
            raise ValueError(f"{path}: a second manifest for the split {name!r}; prepare it on its own")
        problems: list[tuple[str, str]] = []
        found[name] = Split(list(_utterances(path, problems)), problems)
    return found


def _utterances(path: Path, problems: list[tuple[str, str]]) -> Iterator[Utterance]:
    try:
        entries = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is not JSON ({error})") from None
    if not isinstance(entries, list):
        raise ValueError(f'{path}: expected a list of {{"transcript": ..., "files": [{{"fname": ...}}]}}')
    for number, entry in enumerate(entries):
        try:
            files = entry["files"]
            name = next((file for file in files if float(file.get("speed", 1)) == 1), files[0])["fname"]
            yield _utterance(path.parent, name, entry["transcript"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            problems.append((f"{path.stem}[{number}]", "the entry has no transcript or no files with a fname"))


def _utterance(folder: Path, name: Any, text: Any) -> Utterance:
    if not isinstance(name, str) or not isinstance(text, str):
        raise TypeError(name, text)
    # The reference writes paths relative to the folder of the dataset, and its manifests there or one folder below.
    path = next((base / name for base in (folder, folder.parent) if (base / name).is_file()), folder / name)
    identity = _LIBRISPEECH_ID.fullmatch(path.stem)
    return Utterance(path.stem, text, identity[1] if identity else "", partial(read_audio, path))
