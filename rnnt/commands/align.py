"""The verb `align`."""

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnnt.commands.cluster import Cluster, archive_on_cluster
from rnnt.commands.output import Format, Out, check_folder, output_files, put_transcript
from rnnt.commands.terminal import Device, More, json_line
from rnnt.commands.words import check_text_options
from rnnt.files import write_file
from rnnt.formats import to_table
from rnnt.text import read_text, visible

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer


def align_command(
    model: Annotated[Path, typer.Argument(help="a run or a model")],
    audio: Annotated[
        str, typer.Argument(help="an audio file of any length; with --text, a word", metavar="AUDIO|WORD")
    ],
    text: Annotated[
        str | None,
        typer.Argument(
            help="a UTF-8 file with all that is said, or - for standard input; with --text, the output symbols"
        ),
    ] = None,
    symbols: Annotated[bool, typer.Option("--text", help="for a model that reads symbols")] = False,
    kind: Format = "text",
    out: Out = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="draw input, both networks' outputs, lattice and path")
    ] = None,
    more: More = None,
    device: Device = "auto",
    cluster: Cluster = None,
) -> None:
    """Find when each word of a known text is said in a recording, or which letter emits each symbol of a pronunciation.

    The format text is a line for each word: start and end in seconds, confidence, a question mark if the word was
    probably not said like this, and the word. With --text it is a line for each output symbol: the place of the input
    symbol that emits it, that input symbol, the output symbol's probability, and the output symbol. Without output
    symbols, those that the model finds are aligned.

    Example: rnnt align runs/mine speech.flac speech.txt --format textgrid --out aligned

    With --cluster, a list (.jsonl, .tsv, .parquet) of recordings with their texts takes the place of both. The result
    is a folder of Parquet files with a row for each recording.

    Example: rnnt align runs/mine list.jsonl --cluster --out aligned

    Example: rnnt align runs/words --text hello 'h ə l oʊ' --picture hello.png
    """
    if cluster is not None:
        if symbols or picture is not None or text is not None:
            raise ValueError("--cluster aligns the recordings of a list with its texts; give the list and --out alone")
        archive_on_cluster("align", [model, *(more or [])], [audio], kind, out, device, cluster)
        return
    from rnnt.recognizer import load

    if symbols:
        check_text_options(kind, out)
    else:
        files = output_files([Path(audio)], kind, out)
    if picture is not None:
        check_folder(picture.parent, "--picture another file")
    recognizer = load([model, *(more or [])], device)
    recognizer.require_input("symbols" if symbols else "audio")
    if symbols:
        _align_symbols(recognizer, audio, text, kind, picture)
        return
    if text is None:
        raise ValueError("give the file with the text after the recording; - is standard input")
    audio = Path(audio)
    transcript = recognizer.align(audio, _read(text))
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


def _align_symbols(recognizer: "Recognizer", word: str, text: str | None, kind: str, picture: Path | None) -> None:
    """Print which symbol of a word emits each output symbol. text: None for the most probable output."""
    if text is None:
        text = recognizer.transduce(word)[0].text
    found = recognizer.align_symbols(word, text)
    if kind == "json":
        probability = math.exp(min(found.log_prob, 0.0))
        record = {"input": found.input, "text": found.text, "probability": probability}
        print(json_line(record | {"symbols": [asdict(each) for each in found.emitted]}))
    else:
        for each in found.emitted:
            print(f"{each.frame + 1}\t{visible(each.input)}\t{each.probability:.3f}\t{visible(each.symbol)}")
    if picture is not None:
        from rnnt.alignment_picture import draw_symbol_alignment

        draw_symbol_alignment(recognizer, found, picture)


def _read(text: str) -> str:
    if text != "-":
        return read_text(Path(text))
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input: is not UTF-8 text (byte {error.start}); convert it to UTF-8") from None
