"""The table of several decoders on the same utterances: for the terminal, for the report's page, and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from rnnt.error_rate import (
    Difference,
    ErrorRate,
    Pair,
    oracle_pairs,
    rate_difference,
    score_pairs,
)
from rnnt.evaluation import Alternative, DecoderResult, Evaluation
from rnnt.measure import Measure
from rnnt.references import nearest_references
from rnnt.usage import Usage


@dataclass(frozen=True)
class Line:
    """The figures of one decoder. difference: of its first error rate to the first line's, None in the first line.

    first, second: of the measure. tokens: the one of them that counts words or symbols. utterances: that were decoded.
    audio_seconds: of all of them, 0 for symbols. oracle: the first error rate of the best choices from the n-best
    lists, None without lists.
    """

    result: DecoderResult
    encoder: Usage
    first: ErrorRate
    second: ErrorRate
    tokens: ErrorRate
    difference: Difference | None
    utterances: int
    audio_seconds: float
    oracle: ErrorRate | None

    @property
    def utterances_per_second(self) -> float:
        """Utterances for one second of the encoder and this search."""
        return self.utterances / (self.encoder.seconds + self.result.usage.seconds)

    @property
    def times_real_time(self) -> float:
        """Seconds of audio for one second of the encoder and this search."""
        return self.audio_seconds / (self.encoder.seconds + self.result.usage.seconds)

    @property
    def of_encoder(self) -> float:
        """Seconds of the search for one second of the encoder."""
        return self.result.usage.seconds / self.encoder.seconds


def compare(evaluation: Evaluation) -> list[Line]:
    """Return a line for each decoder. Raises ValueError if there are no pairs."""
    return [_line(evaluation, place) for place in range(len(evaluation.decoders))]


def _line(evaluation: Evaluation, place: int) -> Line:
    measure, result = evaluation.measure, evaluation.decoders[place]
    rates = {unit: score_pairs(result.pairs, unit) for unit in (measure.first, measure.second)}
    return Line(
        result,
        evaluation.encoder,
        rates[measure.first],
        rates[measure.second],
        rates[measure.tokens],
        rate_difference(result.pairs, evaluation.pairs, measure.first) if place else None,
        evaluation.decoded,
        sum(pair.seconds for pair in result.pairs),
        score_pairs(oracle_pairs(_listed(result, measure), measure.first), measure.first) if result.nbest else None,
    )


def _listed(result: DecoderResult, measure: Measure) -> list[list[Pair]]:
    """Return a pair for each entry of each n-best list, with the reference that is nearest to the entry."""
    return [
        nearest_references([dataclasses.replace(pair, hypothesis=entry.text) for entry in entries], measure.tokens)
        for pair, entries in zip(result.pairs, result.nbest, strict=True)
    ]


def time_line(line: Line) -> str:
    """Return how long encoder and search took, in a sentence for the terminal."""
    encoder, search = line.encoder.seconds, line.result.usage.seconds
    return (
        f"{line.result.decoder}: decoding {search:.2f} s, {100 * line.of_encoder:.1f} % of the encoder's "
        f"{encoder:.2f} s; together {_speed(line)} {'times real time' if line.audio_seconds else 'utterances a second'}"
    )


def table_text(lines: Sequence[Line]) -> list[str]:
    """Return the table as lines of equal width, and a sentence on what its columns mean."""
    rows = [[head for _, head in _columns(lines)], *([*cells] for cells in _cells(lines))]
    widths = [max(map(len, column)) for column in zip(*rows)]
    text = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    return [*text, *_notes(lines)]


def table_html(lines: Sequence[Line]) -> str:
    """Return the table as HTML."""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for _, head in _columns(lines))
    rows = "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for first, *cells in _cells(lines)
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in _notes(lines))
    return f'<h2>Decoders</h2><table class="n"><tr>{heads}</tr>{rows}</table>{notes}'


def table_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the table's figures for `scores.json`: rates as fractions, times in seconds."""
    return [
        {
            "decoding": line.result.decoder,
            **{rate.unit.name: rate_json(rate) for rate in (line.first, line.second)},
            "difference": line.difference and dataclasses.asdict(line.difference),
            "oracle": line.oracle and rate_json(line.oracle),
            "encoder_seconds": line.encoder.seconds,
            "decoding_seconds": line.result.usage.seconds,
            **_speed_json(line),
            "peak_bytes": line.result.usage.peak_bytes or None,
            "search_errors": line.result.lower,
            "finds_better": line.result.higher,
            "truncated": len(line.result.truncated),
        }
        for line in lines
    ]


def nbest_records(lines: Sequence[Line]) -> Iterator[dict[str, Any]]:
    """Yield the records of `nbest.jsonl`: each utterance's list by each decoder."""
    for line in lines:
        for pair, entries in zip(line.result.pairs, line.result.nbest):
            yield {
                "id": pair.id,
                "decoding": line.result.decoder,
                "reference": pair.reference,
                "nbest": [_entry_json(entry) for entry in entries],
            }


def _entry_json(entry: Alternative) -> dict[str, Any]:
    record = dataclasses.asdict(entry)
    return record if entry.scores else {name: value for name, value in record.items() if name != "scores"}


def rate_json(rate: ErrorRate) -> dict[str, Any]:
    """Return a rate as a fraction, with its counts and interval, for `scores.json`."""
    return {"rate": rate.rate, **dataclasses.asdict(rate), "unit": rate.unit.name}


def _speed_json(line: Line) -> dict[str, float]:
    if line.audio_seconds:
        return {"times_real_time": line.times_real_time}
    return {"utterances_per_second": line.utterances_per_second}


def _speed(line: Line) -> str:
    speed = line.times_real_time if line.audio_seconds else line.utterances_per_second
    return f"{speed:,.{0 if speed >= 10 else 1}f}"


def _heads(line: Line) -> tuple[str, ...]:
    first, second = line.first.unit.label, line.second.unit.label
    return (
        "decoding", f"{first} %", "95 % interval", "minus first row", f"{second} %", "sub", "del", "ins",
        f"oracle {first} %", "time s", "of encoder's", "x real time" if line.audio_seconds else "utt/s", "peak MiB",
        "search errors", "finds better",
    )  # fmt: skip


def _columns(lines: Sequence[Line]) -> list[tuple[int, str]]:
    """Return the columns that have something to say: number and heading."""
    heads, empty = _heads(lines[0]), set()
    if not any(line.oracle for line in lines):
        empty.add(f"oracle {lines[0].first.unit.label} %")
    if not any(line.result.usage.peak_bytes for line in lines):
        empty.add("peak MiB")
    if len(lines) == 1:
        empty |= {"minus first row", "search errors", "finds better"}
    return [(place, head) for place, head in enumerate(heads) if head not in empty]


def _cells(lines: Sequence[Line]) -> Iterator[list[str]]:
    for place, line in enumerate(lines):
        rate, tokens, result = line.first, line.tokens, line.result
        cells = (
            result.decoder,
            f"{100 * rate.rate:.2f}",
            f"{100 * rate.low:.2f} - {100 * rate.high:.2f}",
            str(line.difference or ""),
            f"{100 * line.second.rate:.2f}",
            f"{tokens.substitutions:,}",
            f"{tokens.deletions:,}",
            f"{tokens.insertions:,}",
            f"{100 * line.oracle.rate:.2f}" if line.oracle else "",
            f"{result.usage.seconds:.2f}",
            f"{100 * line.of_encoder:.1f} %",
            _speed(line),
            f"{result.usage.peak_bytes / 2**20:,.0f}",
            f"{result.lower:,}" if place else "",
            f"{result.higher:,}" if place else "",
        )
        yield [cells[column] for column, _ in _columns(lines)]


def _notes(lines: Sequence[Line]) -> list[str]:
    first, encoder = lines[0], lines[0].encoder
    peak = f", peak {encoder.peak_bytes / 2**20:,.0f} MiB" if encoder.peak_bytes else ""
    what = f"{first.audio_seconds:,.0f} s of audio" if first.audio_seconds else f"{first.utterances:,} utterances"
    notes = [f"encoder, once for all rows: {encoder.seconds:.2f} s for {what}{peak}"]
    if len(lines) > 1:
        difference = lines[1].difference
        notes.append(
            f"minus first row: difference of {first.first.unit.label}, with its 95 % interval over "
            f"{difference.blocks:,} {difference.block}s; search errors: utterances for which {first.result.decoder} "
            "finds more probable symbols; finds better: less probable ones"
        )
    return notes
