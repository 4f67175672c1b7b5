"""The verb `transcribe`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rnnt.commands.output import Format, Out, output_files, put_transcript
from rnnt.commands.terminal import (
    Decoding,
    Device,
    HotWords,
    IlmWeight,
    Lm,
    LmWeight,
    LodrWeight,
    More,
    json_line,
    show,
    warnings_shown,
)
from rnnt.threads import Threads, adapting


def transcribe_command(
    model: Annotated[Path, typer.Argument(help="a run or a model")],
    inputs: Annotated[list[Path], typer.Argument(help="audio files, or folders of them", metavar="FILE|DIR...")],
    kind: Format = "text",
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="the same as --format json")] = False,
    batch_size: Annotated[int, typer.Option(help="segments decoded together", min=1)] = 16,
    decoding: Decoding = None,
    hotwords: HotWords = None,
    lm: Lm = None,
    lm_weight: LmWeight = None,
    lodr_weight: LodrWeight = None,
    ilm_weight: IlmWeight = None,
    more: More = None,
    device: Device = "auto",
) -> None:
    """Print the text of audio files of any length. Long ones are cut at pauses; --json tells where.

    A file that cannot be read is named on standard error, and the others go on.

    Without --out, JSON is one object a line. With it, each recording gets a file of its name, and a file that is there
    already is replaced.

    Example: rnnt transcribe runs/digits recording.wav --format srt --out subtitles
    """
    from rnnt.recognizer import load
    from rnnt.transcription import audio_files

    threads = Threads()
    kind = "json" if as_json else kind
    paths = audio_files(inputs)
    files = output_files(paths, kind, out)
    with warnings_shown():
        recognizer = load([model, *(more or [])], device, decoding, hotwords, lm, lm_weight, lodr_weight, ilm_weight)
    failed = 0
    for path, result in adapting(recognizer.transcribe_files(paths, batch_size), threads):
        if isinstance(result, Exception):
            failed += 1
            show(f"error: {result}", file=sys.stderr)
            if kind == "json" and out is None:
                print(json_line({"path": str(path), "error": str(result)}), flush=True)
            continue
        if result.error:
            failed += 1
            show(f"error: {result.error} (its text is that of the first {result.seconds:.1f} s)", file=sys.stderr)
        if result.truncated:
            first = next(segment for segment in result.segments if segment.truncated)
            last = max(time for time in result.times if time < first.end)
            seconds = f"{last:.1f} of {result.seconds:.1f} s"
            show(f"warning: {path}: the text is truncated at {seconds} by decoding.max_symbols", file=sys.stderr)
        put_transcript(result, path, kind, files.get(path))
    if failed:
        show(f"{failed} of {len(paths)} files could not be transcribed", file=sys.stderr)
        raise typer.Exit(1 if failed < len(paths) else 2)
