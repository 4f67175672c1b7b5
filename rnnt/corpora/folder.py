"""The user's own recordings: a folder of audio files with a `.txt` next to each, or a list of paths and texts."""

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rnnt.audio import AUDIO_SUFFIXES, read_audio
from rnnt.corpora import Split, Utterance
from rnnt.text import read_lines, read_text

_PATH_KEYS = ("path", "audio", "audio_filepath")


def splits(source: Path, valid: float = 0.05, split: str | None = None) -> dict[str, Split]:
    """Find the user's recordings: as the splits `train` and `valid`, or all in one split with the name `split`.

    `source` is a folder or a list. A folder is searched at all depths for audio files with a `.txt` next to each. A
    list names paths relative to itself. It is a TSV of path and text, or with a header that names its columns (path,
    text, speaker, id); or it has a JSON object a line, {"audio" | "path" | "audio_filepath": ..., "text": ...,
    and optionally "speaker", "id", "offset", "duration"}.

    `valid` is the share of utterances held out, chosen by a hash. All utterances of a known speaker are in the same
    split if that is possible. Raises ValueError if nothing is found or an option's value makes no sense.
    """
    if not 0 <= valid < 1:
        raise ValueError(f"valid is the share of utterances held out, at least 0 and less than 1, not {valid}")
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    problems: list[tuple[str, str]] = []
    utterances = list(_paired(source, problems) if source.is_dir() else _listed(source, problems))
    if not utterances:
        reasons = "".join(f"; {identity}: {reason}" for identity, reason in problems[:3])
        raise ValueError(
            f"{source}: expected audio with a .txt beside each, or a list of path<TAB>text or JSON lines{reasons}"
        )
    if split is not None:
        return {split: Split(utterances, problems)}
    held = _held_out(utterances, valid)
    found = {"train": Split([utterance for utterance in utterances if utterance.id not in held], problems)}
    if held:
        found["valid"] = Split([utterance for utterance in utterances if utterance.id in held])
    return found


def _paired(folder: Path, problems: list[tuple[str, str]]) -> Iterator[Utterance]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    texts = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".txt"}
    heard: set[Path] = set()
    for path in files:
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        stem = path.with_suffix("")
        identity = stem.relative_to(folder).as_posix()
        if stem not in texts:
            problems.append((identity, f"{path}: has no {path.stem}.txt beside it"))
        elif stem in heard:
            problems.append((identity, f"{path}: another recording has the same name and text"))
        else:
            try:
                yield Utterance(identity, read_text(texts[stem]), "", partial(read_audio, path))
            except ValueError as error:
                problems.append((identity, str(error)))
        heard.add(stem)
    for stem in sorted(texts.keys() - heard):
        problems.append((stem.relative_to(folder).as_posix(), f"{texts[stem]}: has no audio beside it"))


def _listed(path: Path, problems: list[tuple[str, str]]) -> Iterator[Utterance]:
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    entries = _json_lines if lines and lines[0][1].lstrip().startswith("{") else _table
    seen: set[str] = set()
    for number, entry in entries(lines):
        try:
            utterance = _utterance(entry, path.parent)
            if utterance.id in seen:
                raise ValueError(f"the id {utterance.id} occurs twice")
        except (ValueError, TypeError) as error:
            problems.append((f"line {number}", str(error)))
            continue
        seen.add(utterance.id)
        yield utterance


def _json_lines(lines: list[tuple[int, str]]) -> Iterator[tuple[int, Any]]:
    for number, line in lines:
        try:
            yield number, json.loads(line)
        except ValueError:
            yield number, None


def _table(lines: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, str]]]:
    columns = ["path", "text"]
    for position, (number, line) in enumerate(lines):
        cells = [cell.strip() for cell in line.split("\t")]
        if position == 0 and cells[0].lower() in _PATH_KEYS:
            columns = [cell.lower() for cell in cells]
        else:
            yield number, dict(zip(columns, cells)) if len(cells) == len(columns) else {}


def _utterance(entry: Any, folder: Path) -> Utterance:
    name = next((entry[key] for key in _PATH_KEYS if entry.get(key)), None) if isinstance(entry, dict) else None
    if not isinstance(name, str) or not isinstance(entry.get("text"), str):
        raise ValueError("expected a path and a text (path<TAB>text, or a JSON object with both)")
    start = float(entry.get("offset") or 0)
    seconds = entry.get("duration") if entry.get("offset") is not None else None
    path = folder / name  # this is `name` if that is an absolute path
    stem = path.relative_to(folder) if path.is_relative_to(folder) else path
    identity = entry.get("id") or stem.with_suffix("").as_posix() + (f"@{start:g}" if start else "")
    read = partial(read_audio, path, start=start, seconds=None if seconds is None else float(seconds))
    return Utterance(str(identity), entry["text"], str(entry.get("speaker") or ""), read)


def _held_out(utterances: list[Utterance], share: float) -> set[str]:
    """Return the ids to hold out: whole speakers, or single utterances if speakers are unknown or too few."""
    wanted = share * len(utterances)
    held = _first_groups([(utterance.speaker or utterance.id, utterance.id) for utterance in utterances], wanted)
    return held or _first_groups([(utterance.id, utterance.id) for utterance in utterances], wanted)


def _first_groups(members: list[tuple[str, str]], wanted: float) -> set[str]:
    """Return the ids of whole groups, taken in the order of a hash until they are `wanted` or more.

    members: group and id of each utterance.
    """
    groups: dict[str, list[str]] = {}
    for group, identity in members:
        groups.setdefault(group, []).append(identity)
    # A large speaker may exceed `wanted` by half, and at least one utterance is left for training.
    limit = min(max(1.5 * wanted, 1), len(members) - 1)
    held: set[str] = set()
    for group in sorted(groups, key=lambda group: hashlib.sha256(group.encode()).digest()):
        if len(held) >= wanted:
            break
        if len(held) + len(groups[group]) <= limit:
            held.update(groups[group])
    return held
