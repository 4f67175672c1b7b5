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
    character_error_rate,
    oracle_pairs,
    rate_difference,
    word_error_rate,
)
from rnnt.evaluation import Alternative, DecoderResult, Evaluation
from rnnt.usage import Usage

_HEADS = (
    "decoding", "WER %", "95 % interval", "minus first row", "CER %", "sub", "del", "ins", "oracle WER %", "time s",
    "of encoder's", "x real time", "peak MiB", "search errors", "finds better",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """The figures of one decoder. difference: of its word error rate to the first line's, None in the first line.

    audio_seconds: of all utterances. oracle: word error rate of the best choices from the n-best lists, None without
    lists.
    """

    result: DecoderResult
    encoder: Usage
    words: ErrorRate
    characters: ErrorRate
    difference: Difference | None
    audio_seconds: float
    oracle: ErrorRate | None

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
    return [
        Line(
            result,
            evaluation.encoder,
            word_error_rate(result.pairs),
            character_error_rate(result.pairs),
            rate_difference(result.pairs, evaluation.pairs) if place else None,
            sum(pair.seconds for pair in result.pairs),
            word_error_rate(oracle_pairs(_listed(result))) if result.nbest else None,
        )
        for place, result in enumerate(evaluation.decoders)
    ]


def _listed(result: DecoderResult) -> list[list[Pair]]:
    """Return a pair for each entry of each n-best list."""
    return [
        [dataclasses.replace(pair, hypothesis=entry.text) for entry in entries]
        for pair, entries in zip(result.pairs, result.nbest, strict=True)
    ]


def time_line(line: Line) -> str:
    """Return how long encoder and search took, in a sentence for the terminal."""
    encoder, search = line.encoder.seconds, line.result.usage.seconds
    return (
        f"{line.result.decoder}: decoding {search:.2f} s, {100 * line.of_encoder:.1f} % of the encoder's "
        f"{encoder:.2f} s; together {_times(line)} times real time"
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
            "word": rate_json(line.words),
            "character": rate_json(line.characters),
            "difference": line.difference and dataclasses.asdict(line.difference),
            "oracle": line.oracle and rate_json(line.oracle),
            "encoder_seconds": line.encoder.seconds,
            "decoding_seconds": line.result.usage.seconds,
            "times_real_time": line.times_real_time,
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
    return {"rate": rate.rate, **dataclasses.asdict(rate)}


def _times(line: Line) -> str:
    return f"{line.times_real_time:,.{0 if line.times_real_time >= 10 else 1}f}"


def _columns(lines: Sequence[Line]) -> list[tuple[int, str]]:
    """Return the columns that have something to say: number and heading."""
    empty = set()
    if not any(line.oracle for line in lines):
        empty.add("oracle WER %")
    if not any(line.result.usage.peak_bytes for line in lines):
        empty.add("peak MiB")
    if len(lines) == 1:
        empty |= {"minus first row", "search errors", "finds better"}
    return [(place, head) for place, head in enumerate(_HEADS) if head not in empty]


def _cells(lines: Sequence[Line]) -> Iterator[list[str]]:
    for place, line in enumerate(lines):
        words, result = line.words, line.result
        cells = (
            result.decoder,
            f"{100 * words.rate:.2f}",
            f"{100 * words.low:.2f} - {100 * words.high:.2f}",
            str(line.difference or ""),
            f"{100 * line.characters.rate:.2f}",
            f"{words.substitutions:,}",
            f"{words.deletions:,}",
            f"{words.insertions:,}",
            f"{100 * line.oracle.rate:.2f}" if line.oracle else "",
            f"{result.usage.seconds:.2f}",
            f"{100 * line.of_encoder:.1f} %",
            _times(line),
            f"{result.usage.peak_bytes / 2**20:,.0f}",
            f"{result.lower:,}" if place else "",
            f"{result.higher:,}" if place else "",
        )
        yield [cells[column] for column, _ in _columns(lines)]


def _notes(lines: Sequence[Line]) -> list[str]:
    first, encoder = lines[0], lines[0].encoder
    peak = f", peak {encoder.peak_bytes / 2**20:,.0f} MiB" if encoder.peak_bytes else ""
    notes = [f"encoder, once for all rows: {encoder.seconds:.2f} s for {first.audio_seconds:,.0f} s of audio{peak}"]
    if len(lines) > 1:
        difference = lines[1].difference
        notes.append(
            f"minus first row: difference of WER, with its 95 % interval over {difference.blocks:,} "
            f"{difference.block}s; search errors: utterances for which {first.result.decoder} finds more probable "
            "symbols; finds better: less probable ones"
        )
    return notes
