"""What the commands print on the terminal."""

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from rnnt.text import visible

Decoding = Annotated[str | None, typer.Option(help="greedy, beam, or beam:8 for a width; default: the model's setting")]
HotWords = Annotated[
    Path | None, typer.Option(help="phrases to favour, one a line; a weight may follow, as in: new york :2.5")
]
Lm = Annotated[
    Path | None, typer.Option(metavar="FILE", help="language model: an ARPA file over symbols or words, from rnnt lm")
]
LmWeight = Annotated[float | None, typer.Option(help="weight of the language model; default: 0.3")]
LodrWeight = Annotated[
    float | None,
    typer.Option(help="weight of the training text's bigram model, which is subtracted; default: 2/3 of --lm-weight"),
]
IlmWeight = Annotated[
    float | None, typer.Option(help="weight of the model's internal language model, subtracted instead; default: 0")
]
More = Annotated[
    list[Path] | None,
    typer.Option("--model", metavar="MODEL", help="another model to decode with, by the mean of their probabilities"),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one")]


def show(*lines: str, file: TextIO | None = None) -> None:
    """Print lines, without the characters that a terminal would obey: names and texts may come from strangers."""
    for line in lines:
        print(visible(line), file=file, flush=True)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Show the warnings of a block as lines on standard error."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in found:
        show(f"warning: {warning.message}", file=sys.stderr)


def json_line(record: dict) -> str:
    """Return one line of JSON that any terminal shows and any encoding holds."""
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(record)
    return text if visible(text) == text else json.dumps(record)
