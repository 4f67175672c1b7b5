"""Transcripts of TIMIT: a line for each phone (.phn) or word (.wrd), with its first sample, its end and its name."""

import re
from itertools import pairwise
from pathlib import Path

from rnnt.phones import PHONES_61
from rnnt.text import read_lines

RATE = 16000  # samples a second of the audio that the transcripts were made for

_LINE = re.compile(r"(\d{1,9})\s+(\d{1,9})\s+(\S+)")
_MOST_STEP = 160  # samples between the end of a phone and the start of the next

Mark = tuple[str, int, int]  # name, first sample and end


def read_marks(path: Path) -> list[Mark]:
    """Return the marks of a transcript, in order. Names are in lower case.

    Raises ValueError with one line, which names the file, if it is empty, a line has other fields, or a mark ends
    before it begins or begins before the one above it.
    """
    if not path.is_file():
        raise ValueError(f"{path}: is not a file, or a link to nothing")
    marks: list[Mark] = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        fields = _LINE.fullmatch(line.strip())
        if fields is None:
            raise ValueError(f"{path}: line {number} is not the first sample, the end and the name of a phone or word")
        name, start, end = fields[3].lower(), int(fields[1]), int(fields[2])
        if end <= start:
            raise ValueError(f"{path}: line {number}: {name!r} ends before it begins")
        if marks and start < marks[-1][1]:
            raise ValueError(f"{path}: line {number}: {name!r} begins before {marks[-1][0]!r} of the line above")
        marks.append((name, start, end))
    if not marks:
        raise ValueError(f"{path}: is empty")
    return marks


def check_phones(path: Path, marks: list[Mark]) -> None:
    """Raise ValueError with one line if the marks of a .phn file are not TIMIT's phones, one after the other.

    A phone may begin up to 10 ms before or after the end of the one above it.
    """
    for name, _, _ in marks:
        if name not in PHONES_61:
            raise ValueError(f"{path}: {name!r} is not one of TIMIT's 61 phones")
    for (before, _, end), (name, start, _) in pairwise(marks):
        if abs(start - end) > _MOST_STEP:
            how = "overlaps with" if start < end else "does not follow"
            raise ValueError(
                f"{path}: {name!r} at sample {start} {how} {before!r}, which ends at sample {end}; correct the file"
            )
