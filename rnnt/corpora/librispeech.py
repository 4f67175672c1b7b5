"""LibriSpeech (openslr.org/12; Panayotov et al. 2015) in its original layout. Each of its parts is a split.

<part>/<speaker>/<chapter>/ holds <speaker>-<chapter>-<number>.flac, and one <speaker>-<chapter>.trans.txt. Each line of
the latter is an id and a text in capitals.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rnnt.audio import read_audio
from rnnt.corpora import Split, Utterance
from rnnt.corpora.manifest import Entry, distinct
from rnnt.text import read_lines, reason
from rnnt.tree import find_files, visible_paths

_TRANSCRIPT = ".trans.txt"


def splits(source: Path) -> dict[str, Split]:
    """Find the parts of LibriSpeech in `source`, or in `source/LibriSpeech`. Texts are in lower case.

    Hidden files are left out, and linked folders are entered, each once. Raises ValueError if there is no part.
    """
    root = source / "LibriSpeech" if (source / "LibriSpeech").is_dir() else source
    found: dict[str, Split] = {}
    for part in visible_paths(root) if root.is_dir() else []:
        tree = find_files(part, depth=2)
        chapters: dict[Path, list[Path]] = {}
        for path in tree.files:
            if len(path.relative_to(part).parts) == 3:
                chapters.setdefault(path.parent, []).append(path)
        if any(path.name.endswith(_TRANSCRIPT) for files in chapters.values() for path in files):
            problems = [
                (path.relative_to(part).as_posix(), why) for path, why in {**tree.unreadable, **tree.repeated}.items()
            ]
            entries = [entry for chapter, files in chapters.items() for entry in _chapter(chapter, files, problems)]
            found[part.name] = Split(distinct(entries, problems), problems)
    if not found:
        raise ValueError(
            f"{source}: expected LibriSpeech's layout, <part>/<speaker>/<chapter>/*.flac and *.trans.txt, "
            "as in dev-clean/84/121123/84-121123-0000.flac"
        )
    return found


def _chapter(chapter: Path, files: list[Path], problems: list[tuple[str, str]]) -> Iterator[Entry]:
    texts = _texts(files, problems)
    audio = {path.stem: path for path in files if path.suffix == ".flac"}
    for identity in sorted(texts.keys() | audio.keys()):
        text = texts.get(identity, "")
        if identity not in texts:
            problems.append((identity, f"{audio[identity]}: has no line in a .trans.txt beside it"))
        elif text is None:
            problems.append((identity, f"{chapter}: has two different texts for it"))
        elif identity not in audio:
            problems.append((identity, f"{chapter / identity}.flac: is missing, and the transcript names it"))
        else:
            utterance = Utterance(identity, text, chapter.parent.name, partial(read_audio, audio[identity]))
            yield Entry(utterance, f"{chapter.parent.name}/{chapter.name}/{identity}", identity)


def _texts(files: list[Path], problems: list[tuple[str, str]]) -> dict[str, str | None]:
    """Return the texts of a chapter by id: None if there are two different ones."""
    texts: dict[str, str | None] = {}
    for path in files:
        if not path.name.endswith(_TRANSCRIPT):
            continue
        try:
            if not path.is_file():
                raise ValueError(f"{path}: is not a file, or a link to nothing")
            lines = read_lines(path)
        except (ValueError, OSError) as error:
            problems.append((path.name, reason(error, limit=None)))
            continue
        for line in lines:
            identity, _, text = line.strip().partition(" ")
            if texts.setdefault(identity, text.lower()) != text.lower():
                texts[identity] = None
    texts.pop("", None)  # empty lines
    return texts
