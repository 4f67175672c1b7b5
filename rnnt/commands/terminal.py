"""What the commands print on the terminal."""

import json
import sys
from typing import Annotated, TextIO

import typer

from rnnt.text import visible

Decoding = Annotated[str | None, typer.Option(help="greedy, beam, or beam:8 for a width; default: the model's setting")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one")]


def show(*lines: str, file: TextIO | None = None) -> None:
    """Print lines, without the characters that a terminal would obey: names and texts may come from strangers."""
    for line in lines:
        print(visible(line), file=file, flush=True)


def json_line(record: dict) -> str:
    """Return one line of JSON that any terminal shows and any encoding holds."""
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(record)
    return text if visible(text) == text else json.dumps(record)
