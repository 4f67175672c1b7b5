"""The user's own recordings: a folder of audio files with a `.txt` next to each, or a list of paths and texts."""

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from rnnt.audio import AUDIO_SUFFIXES, read_audio
from rnnt.corpora import Split, Utterance, read_utterance
from rnnt.corpora.listing import read_list
from rnnt.text import read_text, reason
from rnnt.tree import find_files

_CHECK_RATE = 16000  # Hz; an utterance that can be used at one sample rate can be used at any


def splits(source: Path, valid: float = 0.05, split: str | None = None) -> dict[str, Split]:
    """Find the user's recordings: as the splits `train` and `valid`, or all in one split with the name `split`.

    `source` is a folder or a list. A folder is searched at all depths for audio files with a `.txt` next to each
    (`rnnt.tree.find_files` says which folders are entered). A list is a TSV or has a JSON object a line
    (`rnnt.corpora.listing` explains both).

    `valid` is the share of utterances held out, chosen by a hash. All utterances of a known speaker are in the same
    split, and each split has an utterance that can be used, if that is possible. Raises ValueError if nothing is found
    or an option's value makes no sense.
    """
    if not 0 <= valid < 1:
        raise ValueError(f"valid is the share of utterances held out, at least 0 and less than 1, not {valid}")
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    problems: list[tuple[str, str]] = []
    utterances = list(_paired(source, problems)) if source.is_dir() else read_list(source, problems)
    if not utterances:
        reasons = "".join(f"; {identity}: {reason}" for identity, reason in problems[:3])
        raise ValueError(
            f"{source}: expected audio with a .txt beside each, or a list of path<TAB>text or JSON lines{reasons}"
        )
    if split is not None:
        return {split: Split(utterances, problems)}
    held = _usable_share(utterances, valid)
    found = {"train": Split([utterance for utterance in utterances if utterance.id not in held], problems)}
    if held:
        found["valid"] = Split([utterance for utterance in utterances if utterance.id in held])
    return found


def _paired(folder: Path, problems: list[tuple[str, str]]) -> Iterator[Utterance]:
    tree = find_files(folder)
    files = tree.files
    for path, why in {**tree.unreadable, **tree.repeated}.items():
        problems.append((path.relative_to(folder).as_posix(), why))
    texts = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".txt"}
    for path in files:
        if path.suffix.lower() == ".txt" and texts[path.with_suffix("")] != path:
            problems.append((path.relative_to(folder).as_posix(), f"{path}: another text has the same name"))
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
                if not texts[stem].is_file():
                    raise ValueError(f"{texts[stem]}: is not a file, or a link to nothing")
                yield Utterance(identity, read_text(texts[stem]), "", partial(read_audio, path))
            except (ValueError, OSError) as error:
                problems.append((identity, reason(error, limit=None)))
        heard.add(stem)
    for stem in sorted(texts.keys() - heard):
        problems.append((stem.relative_to(folder).as_posix(), f"{texts[stem]}: has no audio beside it"))


def _usable_share(utterances: list[Utterance], share: float) -> set[str]:
    """Return the ids to hold out: none, or so that an utterance on each side can be used.

    Audio is read only until one on each side is found, which is usually the first.
    """
    unusable: set[str] = set()

    def any_usable(candidates: Iterable[Utterance]) -> bool:
        for utterance in candidates:
            if utterance.id in unusable:
                continue
            if not isinstance(read_utterance(utterance, _CHECK_RATE), str):
                return True
            unusable.add(utterance.id)
        return False

    first = held = _held_out(utterances, share)
    while held and not any_usable(utterance for utterance in utterances if utterance.id in held):
        held = _held_out([utterance for utterance in utterances if utterance.id not in unusable], share)
    if not first or (held and any_usable(utterance for utterance in utterances if utterance.id not in held)):
        return held
    return set() if any_usable(utterances) else first  # if none can be used, prepare() gives the reasons


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
    for group in sorted(groups, key=lambda group: hashlib.sha256(group.encode("utf-8", "surrogatepass")).digest()):
        if len(held) >= wanted:
            break
        if len(held) + len(groups[group]) <= limit:
            held.update(groups[group])
    return held
