"""The files of an evaluation: all pairs, the scores, the skipped utterances, and a page that shows the errors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from rnnt.comparison import Line, nbest_records, rate_json, table_html, table_json
from rnnt.error_rate import ErrorRate, Pair, align_words, by_speaker, score_pairs
from rnnt.files import write_file
from rnnt.measure import WORDS, Measure
from rnnt.report_folder import default_folders, locked_folder, replacing_report, subject_in, subject_of
from rnnt.text import duration, tsv_line

SHOWN = 500  # utterances in each list of the page
TOP = 10  # rows in each table of frequent errors

Columns = Sequence[tuple[str, str]]  # an alignment: (reference word, hypothesis word), "" where there is none


def write_report(
    folder: Path,
    pairs: Sequence[Pair],
    title: str,
    skipped: Sequence[tuple[str, str]] = (),
    subject: str = "",
    lines: Sequence[Line] = (),
    measure: Measure = WORDS,
    more: Mapping[str, object] | None = None,
) -> None:
    """Write the report on `pairs` into `folder`. Its files are never mixed with those of an earlier report.

    skipped: (id, reason) of the utterances that could not be used. subject: as `subject_of` returns it. The files:
    `pairs.jsonl` (every pair in the given order, with its errors), `scores.json` (the error rates of the measure with
    counts and intervals, as fractions, and the first one of each speaker), `skipped.tsv` if any were skipped, and
    `report.html`, one page that needs no other file. Raises ValueError if there are no pairs, although
    skipped.tsv is written even then, or if another process is writing a report into the folder.
    lines: the table of several decoders, the first of which found `pairs`. It is then on the page and in `scores.json`,
    `pairs.jsonl` has the hypotheses of all, and `nbest.jsonl` has their n-best lists, if there are any. more: further
    entries of `scores.json`.
    """
    try:
        with locked_folder(folder):
            _write(folder, pairs, title, skipped, subject, lines, measure, more)
    except BlockingIOError:
        raise ValueError(f"{folder}: another evaluation is writing its report here; give another --out") from None


def write_default_report(
    models: Sequence[Path],
    data: Sequence[Path],
    pairs: Sequence[Pair],
    title: str,
    skipped: Sequence[tuple[str, str]] = (),
    lines: Sequence[Line] = (),
    measure: Measure = WORDS,
    more: Mapping[str, object] | None = None,
    conditions: str = "",
) -> Path:
    """Write the report on a model and splits into the first of `default_folders` that is free; return the folder.

    models: one, or those of an ensemble. conditions: noise and rooms, in a word. A folder with a report on the same
    models, data and conditions is free too. Raises as `write_report` does.
    """
    subject = subject_of(models, data, conditions)
    *preferred, last = default_folders(models, data, conditions)
    for folder in preferred:
        try:
            with locked_folder(folder):
                if subject_in(folder) in ("", subject):
                    _write(folder, pairs, title, skipped, subject, lines, measure, more)
                    return folder
        except BlockingIOError:  # another evaluation is writing its report there
            continue
    write_report(last, pairs, title, skipped, subject, lines, measure, more)
    return last


def _write(folder: Path, pairs: Sequence[Pair], title: str, skipped: Sequence[tuple[str, str]], *others) -> None:
    with replacing_report(folder) as new:
        if skipped:
            write_file(new / "skipped.tsv", "".join(tsv_line(*row) for row in skipped))
        if pairs:
            _write_pairs(new, pairs, title, skipped, *others)
    if not pairs:
        raise ValueError("there is no utterance to score: the set is empty, or all of it was skipped")


def _write_pairs(
    folder: Path,
    pairs: Sequence[Pair],
    title: str,
    skipped: Sequence[tuple[str, str]],
    subject: str,
    lines: Sequence[Line],
    measure: Measure,
    more: Mapping[str, object] | None,
) -> None:
    rates = [score_pairs(pairs, unit) for unit in (measure.first, measure.second)]
    speakers = by_speaker(pairs, measure.first)
    alignments = align_words(pairs, measure.tokens)
    records = [
        {**_record(pair), "errors": _errors(columns), f"{measure.tokens.name}s": _length(columns)}
        for pair, columns in zip(pairs, alignments)
    ]
    if len(lines) > 1:
        for place, record in enumerate(records):
            record["hypotheses"] = {line.result.decoder: line.result.pairs[place].hypothesis for line in lines}
    scores = {
        "title": title,
        "subject": subject,
        "utterances": len(pairs),
        "skipped": len(skipped),
        "seconds": sum(pair.seconds for pair in pairs),
        **{rate.unit.name: rate_json(rate) for rate in rates},
        "speakers": {name: rate_json(rate) for name, rate in speakers.items()},
        **(more or {}),
    }
    if lines:
        scores["decoders"] = table_json(lines)
    write_file(folder / "pairs.jsonl", _json_lines(records))
    if any(line.result.nbest for line in lines):
        write_file(folder / "nbest.jsonl", _json_lines(nbest_records(lines)))
    table = table_html(lines) if lines else ""
    write_file(folder / "report.html", _page(title, pairs, alignments, rates, speakers, skipped, table, measure))
    write_file(folder / "scores.json", json.dumps(scores, ensure_ascii=False, indent=2) + "\n")


def _json_lines(records: Iterable[dict]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _record(pair: Pair) -> dict:
    """Return the fields of a pair that say something: of symbols, or of audio."""
    no = {"seconds"} if pair.input else {"input"}
    return {name: value for name, value in vars(pair).items() if name not in no and (value or name != "references")}


def _errors(columns: Columns) -> int:
    return sum(said != heard for said, heard in columns)


def _length(columns: Columns) -> int:
    return sum(said != "" for said, _ in columns)


def _kind(said: str, heard: str) -> str:
    if said == heard:
        return ""
    return "I" if not said else "D" if not heard else "S"


def _page(
    title: str,
    pairs: Sequence[Pair],
    alignments: Sequence[Columns],
    rates: Sequence[ErrorRate],
    speakers: dict[str, ErrorRate],
    skipped: Sequence[tuple[str, str]],
    table: str,
    measure: Measure,
) -> str:
    ranked = sorted(
        ((_errors(columns), pair, columns) for pair, columns in zip(pairs, alignments)),
        # The same number of errors is worse in a shorter text.
        key=lambda row: (-row[0], _length(row[2]) if row[0] else 0),
    )
    wrong = [row for row in ranked if row[0]]
    right = [row[1] for row in ranked if not row[0]]
    parts = [
        f"<h1>{escape(title)}</h1>",
        _totals(pairs, len(wrong), len(skipped), rates),
        table,
        _frequent(alignments),
        _speakers(speakers),
        f"<h2>Utterances with errors, most errors first ({len(wrong):,})</h2>",
        "<p>Above what was said, below what was recognised. "
        '<span class="k S">S</span> substituted, <span class="k D">D</span> deleted (said, not recognised), '
        '<span class="k I">I</span> inserted (recognised, not said).</p>',
        _limit(len(wrong), "worst", "pairs.jsonl"),
        *(_utterance(pair, columns, errors, measure.tokens.name) for errors, pair, columns in wrong[:SHOWN]),
        _folded("Without errors", ((pair.id, pair.reference) for pair in right[:SHOWN]), len(right), "pairs.jsonl"),
        _folded("Skipped", skipped[:SHOWN], len(skipped), "skipped.tsv"),
    ]
    body = "\n".join(part for part in parts if part)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _totals(pairs: Sequence[Pair], wrong: int, skipped: int, rates: Sequence[ErrorRate]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{rate.unit.title}</th><td><b>{100 * rate.rate:.2f} %</b></td>'
        f"<td>{100 * rate.low:.2f} – {100 * rate.high:.2f} %</td><td>{rate.errors:,}</td>"
        f"<td>{rate.substitutions:,}</td><td>{rate.deletions:,}</td><td>{rate.insertions:,}</td>"
        f"<td>{rate.reference_length:,}</td></tr>"
        for rate in rates
    )
    heads = ("", "rate", "95 % interval", "errors", "substituted", "deleted", "inserted", "in the reference")
    seconds = sum(pair.seconds for pair in pairs)
    facts = [f"{len(pairs):,} utterances", f"{wrong:,} of them with errors ({100 * wrong / len(pairs):.1f} %)"]
    if seconds:
        facts.append(duration(seconds / 3600))
    if skipped:
        facts.append(f"{skipped:,} skipped")
    head = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in heads)
    return f'<table class="n"><tr>{head}</tr>{rows}</table><p>{", ".join(facts)}.</p>'


def _speakers(speakers: dict[str, ErrorRate]) -> str:
    """A table of the speakers, those with the most errors first."""
    rows = [
        (
            name or "(unknown)",
            f"{100 * rate.rate:.2f} %, {rate.errors:,} errors in {rate.reference_length:,} {rate.unit.name}s",
        )
        for name, rate in speakers.items()
    ]
    return _folded("Speakers, highest error rate first", rows[:SHOWN], len(rows), "scores.json")


def _frequent(alignments: Iterable[Columns]) -> str:
    counts = Counter(column for columns in alignments for column in columns if column[0] != column[1])
    tables = []
    for kind, heading in (("S", "Most confused"), ("D", "Most deleted"), ("I", "Most inserted")):
        top = sorted((-count, column) for column, count in counts.items() if _kind(*column) == kind)
        rows = "".join(f"<tr><td>{_words_of(column)}</td><td>{-count:,}</td></tr>" for count, column in top[:TOP])
        more = f"<p>and {len(top) - TOP:,} more</p>" if len(top) > TOP else ""
        content = f"<table>{rows}</table>{more}" if rows else "<p>none</p>"
        tables.append(f"<section><h2>{heading}</h2>{content}</section>")
    return f'<div class="tops">{"".join(tables)}</div>'


def _words_of(column: tuple[str, str]) -> str:
    return " → ".join(f"<bdi>{escape(word)}</bdi>" for word in column if word)


def _utterance(pair: Pair, columns: Columns, errors: int, unit: str) -> str:
    cells = "".join(_column(said, heard) for said, heard in columns)
    length = _length(columns)
    facts = f"{errors} {'error' if errors == 1 else 'errors'} in {length} {unit if length == 1 else unit + 's'}"
    seconds = f", {pair.seconds:.1f} s" if pair.seconds else ""
    nearest = f", nearest of {len(pair.references)} references" if pair.references else ""
    given = f"<bdi>{escape(_joined(pair.input))}</bdi> " if pair.input else ""
    # dir=auto lets the columns of a right-to-left script run its way.
    return (
        f"<article><h3>{escape(pair.id)} {given}<small>{facts}{seconds}{nearest}</small></h3>"
        f'<div class="a" dir="auto">{cells}</div></article>'
    )


def _joined(symbols: Sequence[str]) -> str:
    """Return symbols as one text, letters without spaces between them."""
    return ("" if all(len(symbol) == 1 for symbol in symbols) else " ").join(symbols)


def _column(said: str, heard: str) -> str:
    kind = _kind(said, heard)
    upper = _word("del" if kind == "D" else "span", said)
    lower = _word("ins" if kind == "I" else "span", heard)
    mark = f"<b>{kind}</b>" if kind else ""
    return f'<span class="c {kind}">{upper}{lower}{mark}</span>'


def _word(tag: str, word: str) -> str:
    return f"<{tag}>{escape(word)}</{tag}>" if word else "<i>∗</i>"


def _folded(heading: str, rows: Iterable[tuple[str, str]], count: int, where: str) -> str:
    if not count:
        return ""
    items = "".join(f"<tr><td>{escape(name)}</td><td><bdi>{escape(text)}</bdi></td></tr>" for name, text in rows)
    table = f"{_limit(count, 'first', where)}<table>{items}</table>"
    return f"<details><summary>{heading} ({count:,})</summary>{table}</details>"


def _limit(count: int, which: str, where: str) -> str:
    return f"<p>Only the {which} {SHOWN} are shown; all are in {where}.</p>" if count > SHOWN else ""


_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #6b6b6b; --line: #d8d8d8;
  --S: #8a4b00; --S-back: #ffedd1; --D: #a3122a; --D-back: #ffe3e6; --I: #1a4fa3; --I-back: #e1ecff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #16181b; --faint: #9a9a9a; --line: #3a3d42;
  --S: #ffc266; --S-back: #40300f; --D: #ff97a3; --D-back: #471a21; --I: #9cc2ff; --I-back: #1a2f52; } }
body { font: 16px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
h3 { font-size: .9rem; margin: 0; overflow-wrap: anywhere; } small { font-weight: normal; color: var(--faint); }
table { border-collapse: collapse; } th, td { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top; }
td { overflow-wrap: anywhere; } .n td, .n th, .tops td:last-child { text-align: right; }
.n { display: block; overflow-x: auto; } .n td, .n th { overflow-wrap: normal; white-space: nowrap; }
.n th[scope=row] { text-align: left; } .n th[scope=col] { font-weight: normal; }
.tops { display: flex; flex-wrap: wrap; gap: 0 3rem; }
article { border-top: 1px solid var(--line); padding: .6rem 0; }
.a { display: flex; flex-wrap: wrap; gap: .3rem; margin-top: .2rem; }
.c { display: inline-flex; flex-direction: column; padding: 0 .25rem; border-radius: .25rem; }
.c i { font-style: normal; color: var(--faint); } .c b { font-size: .75rem; }
.k { padding: 0 .35rem; border-radius: .25rem; font-weight: bold; }
.S { color: var(--S); background: var(--S-back); } .D { color: var(--D); background: var(--D-back); }
.I { color: var(--I); background: var(--I-back); }
details { margin: 1.5rem 0; } summary { font-size: 1.1rem; font-weight: bold; cursor: pointer; }
"""
