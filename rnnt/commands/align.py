"""The verb `align`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rnnt.commands.output import Format, Out, check_folder, output_files, put_transcript
from rnnt.commands.terminal import Device, More
from rnnt.files import write_file
from rnnt.formats import to_table
from rnnt.text import read_text, visible


def align_command(
    model: Annotated[Path, typer.Argument(help="a run or a model")],
    audio: Annotated[Path, typer.Argument(help="an audio file of any length")],
    text: Annotated[Path, typer.Argument(help="a UTF-8 file with all that is said; - for standard input")],
    kind: Format = "text",
    out: Out = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="draw input, both networks' outputs, lattice and path")
    ] = None,
    more: More = None,
    device: Device = "auto",
) -> None:
    """Find when each word of a known text is said in a recording.

    The format text is a line for each word: start and end in seconds, confidence, a question mark if the word was
    probably not said like this, and the word.

    Example: rnnt align runs/mine speech.flac speech.txt --format textgrid --out aligned
    """
    from rnnt.recognizer import load

    files = output_files([audio], kind, out)
    if picture is not None:
        check_folder(picture.parent, "--picture another file")
    known = _read(text)
    recognizer = load([model, *(more or [])], device)
    transcript = recognizer.align(audio, known)
    if kind != "text":
        put_transcript(transcript, audio, kind, files.get(audio))
    elif files:
        write_file(files[audio], to_table(transcript))
    else:
        for line in to_table(transcript).splitlines():
            print("\t".join(map(visible, line.split("\t"))), flush=True)
    if picture is not None:
        from rnnt.alignment_picture import draw_alignment

        draw_alignment(recognizer, audio, transcript, picture)


def _read(text: Path) -> str:
    if str(text) != "-":
        return read_text(text)
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input: is not UTF-8 text (byte {error.start}); convert it to UTF-8") from None
