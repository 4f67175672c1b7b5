"""The verb `transcribe`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rnnt.commands.cluster import Cluster, archive_on_cluster
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
from rnnt.commands.words import check_text_options, print_outputs, read_words
from rnnt.threads import Threads, adapting


def transcribe_command(
    model: Annotated[Path, typer.Argument(help="a run or a model")],
    inputs: Annotated[
        list[str],
        typer.Argument(help="audio files, or folders of them; with --text, words", metavar="FILE|DIR|WORD..."),
    ],
    text: Annotated[
        bool,
        typer.Option(
            "--text", help="for a model that reads symbols: words, files with a word in each line, or - (stdin)"
        ),
    ] = False,
    nbest: Annotated[
        int | None,
        typer.Option(help="with --text: list so many outputs of each word, with probabilities", min=1, max=256),
    ] = None,
    kind: Format = "text",
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="the same as --format json")] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="segments decoded together; default: 16, of words decoding.batch", min=1)
    ] = None,
    decoding: Decoding = None,
    hotwords: HotWords = None,
    lm: Lm = None,
    lm_weight: LmWeight = None,
    lodr_weight: LodrWeight = None,
    ilm_weight: IlmWeight = None,
    more: More = None,
    device: Device = "auto",
    cluster: Cluster = None,
) -> None:
    """Print the text of audio files of any length, or the output for words. A line for each, with a tab in it.

    Long recordings are cut at pauses; --json tells where. A file that cannot be read, or a word that makes no sense, is
    named on standard error, and the others go on.

    Without --out, JSON is one object a line. With it, each recording gets a file of its name, and a file that is there
    already is replaced.

    With --cluster, folders, lists (.jsonl, .tsv, .parquet) and URIs (s3://...) become a folder of Parquet files with a
    row for each recording. Whatever was killed, the same command goes on where it stopped.

    Example: rnnt transcribe runs/digits recording.wav --format srt --out subtitles

    Example: rnnt transcribe runs/digits s3://archive/1950 --cluster --out texts

    Example: rnnt transcribe runs/words --text hello world --nbest 3
    """
    from rnnt.recognizer import load
    from rnnt.transcription import audio_files

    threads = Threads()
    kind = "json" if as_json else kind
    if text:
        check_text_options(kind, out)
    elif nbest is not None:
        raise ValueError("--nbest goes with --text; for recordings, rnnt evaluate --nbest lists hypotheses")
    if cluster is not None:
        if text:
            raise ValueError("--cluster is for recordings; leave it out with --text")
        archive_on_cluster(
            "transcribe", [model, *(more or [])], inputs, kind, out, device, cluster, batch_size,
            decoding=decoding, hotwords=hotwords, lm=lm, lm_weight=lm_weight, lodr_weight=lodr_weight,
            ilm_weight=ilm_weight,
        )  # fmt: skip
        return
    paths = [] if text else audio_files(list(map(Path, inputs)))
    files = output_files(paths, kind, out) if paths else {}
    with warnings_shown():
        recognizer = load([model, *(more or [])], device, decoding, hotwords, lm, lm_weight, lodr_weight, ilm_weight)
    if text:
        print_outputs(recognizer, read_words(inputs, sys.stdin.buffer), nbest, batch_size, kind, threads)
        return
    failed = 0
    for path, result in adapting(recognizer.transcribe_files(paths, batch_size or 16), threads):
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
