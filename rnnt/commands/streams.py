"""The option `--live` of the verb `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.commands.terminal import show

if TYPE_CHECKING:
    from rnnt.dataset import Dataset
    from rnnt.decoding.decoder import Decoder
    from rnnt.live_evaluation import LiveEvaluation
    from rnnt.measure import Measure
    from rnnt.recognizer import Recognizer


def evaluate_streams(
    recognizer: Recognizer,
    models: list[Path],
    data: list[Path],
    dataset: Dataset,
    heard: str,
    label: str,
    out: Path | None,
    decoder: Decoder,
    chunk_ms: int,
    batch_size: int | None,
    track: Callable[[Iterable, int, str], Iterable],
    measure: Measure,
) -> None:
    """Score streams of prepared splits, print the figures, and write the report.

    dataset: that of the splits `data`. heard: the noise and the rooms in which it is heard, for the title; label: the
    same for the names of files. out: the report's folder; None for the default one. If all splits have known times, the
    ends of words are theirs.
    """
    from rnnt.error_rate import score_pairs
    from rnnt.known_times import TIMES
    from rnnt.live_evaluation import evaluate_live
    from rnnt.report import write_default_report, write_report
    from rnnt.report_folder import split_names, subject_of
    from rnnt.time_errors import read_all_times

    known = read_all_times(data) if all((folder / TIMES).is_file() for folder in data) else None
    result = evaluate_live(recognizer, dataset, chunk_ms, batch_size, decoder, known, track)
    if result.pairs:
        show(*(str(score_pairs(result.pairs, unit)) for unit in (measure.first, measure.second)))
        show(*_lines(result, "aligned" if known is None else "known"))
    title = f"{', '.join(map(str, models))} on {split_names(data)}{heard}, streams in chunks of {chunk_ms} ms"
    report = result.pairs, title, result.skipped
    rest = (), measure, {"live": result.to_json() | {"ends": "aligned" if known is None else "known"}}
    if out is None:
        out = write_default_report(models, data, *report, *rest, label)
    else:
        write_report(out, *report, subject_of(models, data, label), *rest)
    show(f"report: {out / 'report.html'}")


def _lines(result: LiveEvaluation, ends: str) -> list[str]:
    """Return the figures of streams, a line for each. ends: of words, how they were found."""
    figures, count = result.to_json(), len(result.pairs)
    chunk, share = f"chunk of {1000 * result.chunk_seconds:.0f} ms", 100 * result.equal / count
    lines = [f"{result.equal} of {count} streams ({share:.1f} %) have the symbols of offline decoding"]
    lines.append(f"algorithmic latency {1000 * result.latency:.0f} ms, {chunk}")
    if len(result.delays):
        middle, most = (f"{1000 * figures[name]:.0f} ms" for name in ("delay_median", "delay_90"))
        words = f"{figures['words']:,} right words, {ends} ends"
        lines.append(f"a word appears {middle} after its end (median; 90 %: {most}; {words})")
    if len(result.computing):
        middle, most = (f"{1000 * figures[name]:.1f} ms" for name in ("compute_median", "compute_99"))
        streams = f"up to {result.streams} streams at once" if result.streams > 1 else "a single stream"
        lines.append(f"computing a {chunk} takes {middle} (median; 99 %: {most}; {streams})")
    if result.without_times:
        name, why = result.without_times[0]
        lines.append(f"{len(result.without_times)} utterances have no times of words (first {name}: {why})")
    return lines
