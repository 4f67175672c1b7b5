"""LibriSpeech (openslr.org/12; Panayotov et al. 2015) in its original layout. Each of its parts is a split.

<part>/<speaker>/<chapter>/ holds <speaker>-<chapter>-<number>.flac, and one <speaker>-<chapter>.trans.txt. Each line of
the latter is an id and a text in capitals.
"""

from functools import partial
from pathlib import Path

from rnnt.audio import read_audio
from rnnt.corpora import Split, Utterance
from rnnt.text import read_lines


def splits(source: Path) -> dict[str, Split]:
    """Find every part in `source` or `source/LibriSpeech`. Texts are made lower case.

    Raises ValueError if there is none.
    """
    root = source / "LibriSpeech" if (source / "LibriSpeech").is_dir() else source
    found = {part.name: _part(part) for part in sorted(root.glob("*")) if any(part.glob("*/*/*.trans.txt"))}
    if not found:
        raise ValueError(
            f"{source}: expected LibriSpeech's layout, <part>/<speaker>/<chapter>/*.flac and *.trans.txt, "
            "as in dev-clean/84/121123/84-121123-0000.flac"
        )
    return found


def _part(part: Path) -> Split:
    utterances: list[Utterance] = []
    problems: list[tuple[str, str]] = []
    for chapter in sorted(part.glob("*/*")):
        texts: dict[str, str] = {}
        for path in sorted(chapter.glob("*.trans.txt")):
            for line in read_lines(path):
                identity, _, text = line.strip().partition(" ")
                texts[identity] = text.lower()
        texts.pop("", None)  # empty lines
        audio = {path.stem: path for path in chapter.glob("*.flac")}
        for identity in sorted(texts.keys() | audio.keys()):
            if identity not in texts:
                problems.append((identity, f"{audio[identity]}: has no line in a .trans.txt beside it"))
            elif identity not in audio:
                problems.append((identity, f"{chapter / identity}.flac: is missing, and the transcript names it"))
            else:
                read = partial(read_audio, audio[identity])
                utterances.append(Utterance(identity, texts[identity], chapter.parent.name, read))
    return Split(utterances, problems)
