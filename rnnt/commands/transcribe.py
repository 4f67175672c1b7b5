"""The verb `transcribe`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rnnt.commands.terminal import Decoding, Device, HotWords, json_line, show, warnings_shown
from rnnt.text import visible
from rnnt.threads import Threads, adapting


def transcribe_command(
    model: Annotated[Path, typer.Argument(help="a run or a model")],
    inputs: Annotated[list[Path], typer.Argument(help="audio files, or folders of them", metavar="FILE|DIR...")],
    as_json: Annotated[bool, typer.Option("--json", help="a JSON object a line, with times")] = False,
    batch_size: Annotated[int, typer.Option(help="segments decoded together", min=1)] = 16,
    decoding: Decoding = None,
    hotwords: HotWords = None,
    device: Device = "auto",
) -> None:
    """Print the text of audio files of any length. Long ones are cut at pauses; --json tells where.

    A file that cannot be read is named on standard error, and the others go on.

    Example: rnnt transcribe runs/digits recording.wav
    """
    from rnnt.recognizer import load
    from rnnt.transcription import audio_files

    threads = Threads()
    paths = audio_files(inputs)
    with warnings_shown():
        recognizer = load(model, device, decoding, hotwords)
    failed = 0
    for path, result in adapting(recognizer.transcribe_files(paths, batch_size), threads):
        if isinstance(result, Exception):
            failed += 1
            show(f"error: {result}", file=sys.stderr)
            if as_json:
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
        if as_json:
            record = {name: value for name, value in asdict(result).items() if (name, value) != ("error", None)}
            print(json_line({"path": str(path), **record}), flush=True)
        else:
            print(f"{visible(str(path))}\t{visible(result.text)}", flush=True)
    if failed:
        show(f"{failed} of {len(paths)} files could not be transcribed", file=sys.stderr)
        raise typer.Exit(1 if failed < len(paths) else 2)
