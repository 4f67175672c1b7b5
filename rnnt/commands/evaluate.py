"""The verb `evaluate`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnnt.commands.streams import evaluate_streams
from rnnt.commands.terminal import Device, HotWords, IlmWeight, Lm, LmWeight, LodrWeight, show, warnings_shown
from rnnt.commands.tune import evaluate_tuned
from rnnt.threads import Threads, adapting
from rnnt.tree import distinct_folders

if TYPE_CHECKING:
    from rnnt.evaluation import Evaluation

SPEAKERS_SHOWN = 10  # in the summary of an evaluation, those with the highest error rates


def evaluate_command(
    models: Annotated[list[Path], typer.Argument(help="a run or a model; several decode together", metavar="MODEL...")],
    data: Annotated[list[Path], typer.Option(help="a prepared split; may be given several times")] = ...,
    out: Annotated[
        Path | None, typer.Option(help="the report's folder; default: evaluation-SPLIT by the model")
    ] = None,
    decoding: Annotated[
        list[str] | None,
        typer.Option(help="greedy, beam, or beam:8 for a width, with +lm or +hotwords; several are compared"),
    ] = None,
    nbest: Annotated[int, typer.Option(help="hypotheses to list for each utterance in nbest.jsonl", min=0)] = 0,
    blank_penalty: Annotated[
        float | None, typer.Option(help="nats to make blank less probable by: fewer deletions, more insertions")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="utterances decoded together", min=1)] = None,
    hotwords: HotWords = None,
    lm: Lm = None,
    lm_weight: LmWeight = None,
    lodr_weight: LodrWeight = None,
    ilm_weight: IlmWeight = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="choose the weights of --lm on this data, which must not be test data")
    ] = False,
    times: Annotated[
        bool, typer.Option("--times", help="align the texts too, and judge when symbols begin by the times in the data")
    ] = False,
    suspicious: Annotated[
        bool, typer.Option("--suspicious", help="list the utterances whose text least fits their audio")
    ] = False,
    measure: Annotated[
        str | None, typer.Option(help="words, symbols or sequences, in place of the model's scoring.measure")
    ] = None,
    fold: Annotated[
        str | None, typer.Option(help="none, timit-48 or timit-39, in place of the model's scoring.fold")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="as streams: how soon words appear, time of a chunk, share equal to offline")
    ] = False,
    chunk_ms: Annotated[
        int | None, typer.Option(help="with --live: milliseconds of audio at once; default: 60", min=10)
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="mix in noise: a folder of recordings, babble, speech-shaped or white")
    ] = None,
    snr: Annotated[
        float | None, typer.Option(help="signal-to-noise ratio of --noise in dB; default: 5", min=-100, max=100)
    ] = None,
    rooms: Annotated[
        str | None, typer.Option(help="hear the data in rooms: simulated, or a folder of impulse responses")
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of --noise and --rooms", min=0)] = 0,
    device: Device = "auto",
) -> None:
    """Score a model on prepared splits: error rates, all pairs, and a page that shows the errors.

    Example: rnnt evaluate runs/digits --data data/digits/test

    Compare decoders: rnnt evaluate runs/digits --data data/digits/test --decoding greedy --decoding beam:4

    Decode with several models, by the mean of their probabilities: rnnt evaluate runs/a runs/b runs/c --data data/valid

    Find wrong texts: rnnt evaluate runs/mine --data data/train --suspicious

    In noise and rooms: rnnt evaluate runs/mine --data data/test --noise babble --snr 5 --rooms simulated

    Choose weights: rnnt evaluate runs/mine --data data/valid --decoding beam --lm lm.arpa --tune

    Score streams: rnnt evaluate runs/live --data data/test --live --chunk-ms 60
    """
    from rnnt.comparison import compare, table_text, time_line
    from rnnt.conditions import open_conditions
    from rnnt.dataset import Dataset
    from rnnt.decoding.decoder import configured_decoder, parse_decoders
    from rnnt.error_rate import by_speaker
    from rnnt.measure import measure_of
    from rnnt.model.joint import require_no_durations
    from rnnt.model_folder import find_models
    from rnnt.progress import track
    from rnnt.recognizer import load
    from rnnt.report import write_default_report, write_report
    from rnnt.report_folder import SUSPICIOUS, split_names, subject_of
    from rnnt.suspicion import find_suspicious, write_suspicious
    from rnnt.time_errors import read_all_times, time_errors

    threads = Threads()
    folders, data = find_models(models), distinct_folders(data)
    known = read_all_times(data) if times else None
    if live:
        _check_live(decoding, {"tune": tune, "times": times, "suspicious": suspicious, "nbest": nbest})
    elif chunk_ms is not None:
        raise ValueError("--chunk-ms is for streams; add --live")
    weights = {"lm_weight": lm_weight, "lodr_weight": lodr_weight, "ilm_weight": ilm_weight}
    if tune:
        others = {"blank_penalty": blank_penalty, "nbest": nbest or None, "hotwords": hotwords}
        _check_tuning(lm, decoding, weights | others)
    if snr is not None and not noise:
        raise ValueError("--snr is the level of the speech above --noise; give that too, such as --noise babble")
    dataset, heard, label = Dataset(*data), "", ""
    if noise or rooms:
        conditions = open_conditions(noise, rooms, 5.0 if snr is None else snr, seed, dataset, folders[0].parent)
        dataset, heard, label = dataset.changed(conditions.change), f" {conditions}", conditions.label
        show(*conditions.notes, file=sys.stderr)
        show(f"heard{heard}")
    with warnings_shown():
        recognizer = load(folders, device, hotwords=hotwords, lm=None if tune else lm, **weights)
    if suspicious or times:
        require_no_durations(recognizer.model.joint.durations)
    settings, scorers = recognizer.config.decoding, recognizer.scorers
    if blank_penalty is not None:
        settings = replace(settings, blank_penalty=blank_penalty)
    decoders = parse_decoders(decoding, settings, scorers) if decoding else [configured_decoder(settings, scorers)]
    given = {name: value for name, value in (("measure", measure), ("fold", fold)) if value is not None}
    measured = measure_of(replace(recognizer.config.scoring, **given))
    label = "-".join(filter(None, (label, *given.values())))  # another measure is another report
    how = batch_size, lambda *of: adapting(track(*of), threads)
    if live:
        evaluate_streams(
            recognizer, folders, data, dataset, heard, label, out, decoders[0], chunk_ms or 60, *how, measured
        )
        return
    if tune:
        result = evaluate_tuned(recognizer, folders[0], lm, dataset, split_names(data), decoders[0], *how, measured)
    else:
        result = recognizer.evaluate(dataset, *how, decoders, nbest, measured)
    lines = compare(result) if result.pairs else []
    if lines:
        show(*(table_text(lines) if len(lines) > 1 else (str(lines[0].first), str(lines[0].second))))
        loss = f"loss {result.loss:.4f} nats a symbol" if result.symbols else "no loss"
        show(f"{loss}, {_counted(result)}, {len(result.skipped)} skipped")
        if len(lines) == 1:
            show(time_line(lines[0]))
            if lines[0].oracle:
                show(f"oracle of the {nbest} best: {lines[0].oracle}")
    if result.without_loss:
        name, why = result.without_loss[0]
        show(f"{len(result.without_loss)} of {result.decoded} utterances are not in the loss (first {name}: {why})")
    speakers = list(by_speaker(result.pairs, measured.first).items())
    if len(speakers) > 1:
        shown = ", ".join(f"{name or '(unknown)'} {100 * rate.rate:.2f} %" for name, rate in speakers[:SPEAKERS_SHOWN])
        more = f" and {len(speakers) - SPEAKERS_SHOWN} more" if len(speakers) > SPEAKERS_SHOWN else ""
        by = f" with {result.decoders[0].decoder}" if len(lines) > 1 else ""
        show(f"{measured.first.label} by speaker{by}: {shown}{more}")
    for found in result.decoders:
        if found.truncated:
            by = f" by {found.decoder}" if len(lines) > 1 else ""
            first = found.truncated[0]
            show(f"{len(found.truncated)} transcripts{by} were truncated at decoding.max_symbols (first {first})")
    figures = {}
    if known is not None:
        found = time_errors(recognizer, dataset, known, how[1])
        show(f"times: {found}")
        figures["times"] = found.to_json()
        if found.skipped:
            name, why = found.skipped[0]
            show(f"{len(found.skipped)} utterances were not aligned (first {name}: {why})")
    doubtful = find_suspicious(recognizer, dataset, result.pairs, *how) if suspicious else []
    report = result.pairs, f"{', '.join(map(str, folders))} on {split_names(data)}{heard}", result.skipped
    table = lines if len(lines) > 1 or nbest else []
    try:
        if out is None:
            out = write_default_report(folders, data, *report, table, measured, figures, label)
        else:
            write_report(out, *report, subject_of(folders, data, label), table, measured, figures)
        if suspicious:
            write_suspicious(out / SUSPICIOUS, doubtful)
    except OSError as error:
        why = error.strerror or error
        raise OSError(
            f"cannot write the report in {out or folders[0].parent}: {why}; give --out another folder"
        ) from error
    if suspicious:
        show(f"suspicious: {len(doubtful)} texts, those that fit least first: {out / SUSPICIOUS}")
    show(f"report: {out / 'report.html'}")


def _counted(result: "Evaluation") -> str:
    """Return the number of utterances, and of their inputs if some have the same."""
    merged = result.decoded > len(result.pairs)
    return f"{result.decoded} utterances" + (f" of {len(result.pairs)} inputs" if merged else "")


def _check_live(decoding: list[str] | None, others: dict) -> None:
    """Raise ValueError if --live comes with options that it has no use for."""
    for name, value in others.items():
        if value:
            raise ValueError(f"--live and --{name} do not go together; leave one of them out")
    if decoding and len(decoding) > 1:
        raise ValueError("--live takes one --decoding; run it once for each")


def _check_tuning(lm: Path | None, decoding: list[str] | None, others: dict) -> None:
    """Raise ValueError if --tune comes with options that it has no use for. others: None if not given."""
    if lm is None:
        raise ValueError("--tune chooses the weight of a language model; give one with --lm FILE")
    for name, value in others.items():
        if value is not None:
            option = "--" + name.replace("_", "-")
            raise ValueError(f"--tune and {option} do not go together; leave {option} out")
    if decoding and (len(decoding) > 1 or "+" in decoding[0]):
        raise ValueError("--tune takes one --decoding without language models or hot words, such as beam:4")
