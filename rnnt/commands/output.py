"""Where the commands write transcripts: on standard output, or into a file for each recording."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rnnt.commands.terminal import json_line, show
from rnnt.files import write_file
from rnnt.formats import SUFFIXES, check_format, to_format, to_record
from rnnt.text import complaint, visible
from rnnt.transcript import Transcript

Format = Annotated[str, typer.Option("--format", help=", ".join(SUFFIXES))]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="write a file for each recording, named like it")]
_TOGETHER = ("text", "json", "ctm")  # formats in which several transcripts can follow each other
_LONGEST_NAME = 250  # bytes of a file name; writing it needs a few more


def output_files(recordings: Sequence[Path], kind: str, out: Path | None) -> dict[Path, Path]:
    """Return the file to write for each recording, and make the folder `out`. Empty if `out` is None.

    Raises ValueError with one line if the format `kind` is not known, needs a folder, two recordings would get the same
    name, a file would replace a recording, or the folder cannot be written; ImportError if a package is missing.
    """
    check_format(kind)
    if out is None and kind not in _TOGETHER and len(recordings) > 1:
        raise ValueError(f"--format {kind} needs a file for each recording; give a folder for them with --out")
    if out is None and kind != "ctm":
        return {}
    owners: dict[str, Path] = {}
    for path in recordings:
        name = path.stem + SUFFIXES[kind]
        if name in owners:
            both = f"{path} is named twice" if path == owners[name] else f"{owners[name]} and {path} would both get it"
            raise ValueError(f"two outputs would have the name {name}: {both}; transcribe them one after the other")
        owners[name] = path
    if out is None:
        return {}
    check_folder(out, "--out another folder")
    files = {path: out / name for name, path in owners.items()}
    sources = {_identity(path): path for path in recordings if path.exists()}
    for file in files.values():
        if len(os.fsencode(file.name)) > _LONGEST_NAME:
            raise ValueError(f"{file} has too long a name; rename the recording")
        if file.is_dir():
            raise ValueError(f"{file} is a folder; remove it or give --out another folder")
        if file.exists() and _identity(file) in sources:
            raise ValueError(f"{file} would replace a recording; give --out another folder")
    return files


def put_transcript(transcript: Transcript, path: Path, kind: str, file: Path | None) -> None:
    """Write a transcript into `file`, which is replaced whole, or on standard output if it is None.

    path: of the recording. On standard output, text and JSON are one line, in which the path is named.
    """
    if file is not None:
        write_file(file, to_format(transcript, kind, path.stem))
    elif kind == "json":
        print(json_line({"path": str(path), **to_record(transcript)}), flush=True)
    elif kind == "text":
        print(f"{visible(str(path))}\t{visible(transcript.text)}", flush=True)
    else:
        show(*to_format(transcript, kind, path.stem).split("\n")[:-1])


def check_folder(folder: Path, mend: str) -> None:
    """Make a folder and try to write into it. Raises ValueError that tells to give `mend` if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        why = complaint(OSError(error.errno, error.strerror))
        raise ValueError(f"cannot write into the folder {folder}: {why}; give {mend}") from None


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
