"""The end of a job: how many hours and errors its shards hold, the word error rate, and a page about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from html import escape
from typing import Any

from rnnt.cluster.ledger import Ledger
from rnnt.error_rate import Pair, count_errors
from rnnt.files import write_file
from rnnt.text import clock, duration, visible

_LISTED = 500  # errors on the page
# The words are nine tenths of a large job's shards, and are not read.
_COLUMNS = ("path", "audio", "text", "transcribed", "left_out", "truncated", "reference", "error")


@dataclass
class JobSummary:
    """The results of a job in numbers.

    digest: SHA-256 of all rows without their words. It is the same however often the job was killed.
    """

    recordings: int = 0
    transcribed: float = 0.0  # hours
    left_out: float = 0.0  # hours
    truncated: int = 0
    errors: int = 0
    listed: list[tuple[str, str]] = field(default_factory=list)  # the first errors
    scored: int = 0  # recordings with a reference and without an error
    words: int = 0  # of references
    wrong: int = 0  # words
    digest: str = ""

    @property
    def word_error_rate(self) -> str:
        """The word error rate as a line; empty if no recording has a reference."""
        if not self.scored:
            return ""
        rate = f"WER {100 * self.wrong / max(self.words, 1):.2f} %"
        return f"{rate}, {self.wrong:,} errors in {self.words:,} words of {self.scored:,} recordings"

    @property
    def hours(self) -> str:
        """The hours in words."""
        return f"{duration(self.transcribed)} transcribed, {duration(self.left_out)} left out"


def summarize(ledger: Ledger, scored: bool = True) -> JobSummary:
    """Read all shards of a finished job, one after the other. scored: whether texts are compared with references."""
    summary, sha256 = JobSummary(), hashlib.sha256()
    for rows in ledger.rows(_COLUMNS):
        sha256.update(repr([[row[name] for name in _COLUMNS] for row in rows]).encode())
        pairs = []
        for row in rows:
            summary.recordings += 1
            summary.transcribed += row["transcribed"] / 3600
            summary.left_out += row["left_out"] / 3600
            summary.truncated += row["truncated"]
            if row["error"] is not None:
                summary.errors += 1
                if len(summary.listed) < _LISTED:
                    summary.listed.append((row["path"], row["error"]))
            elif scored and row["reference"] is not None:
                pairs.append(Pair(row["path"], row["reference"], row["text"]))
        if pairs:
            summary.scored += len(pairs)
            errors, words = count_errors(pairs)
            summary.wrong += int(errors.sum())
            summary.words += int(words.sum())
    summary.digest = sha256.hexdigest()
    return summary


def write_page(ledger: Ledger, summary: JobSummary, title: str, job: dict[str, Any], run: dict[str, Any]) -> None:
    """Write `report.html`, a page that needs no other file. job, run: facts about the job and about its last run."""
    facts = {
        "recordings": f"{summary.recordings:,}",
        "audio": summary.hours,
        "word error rate": summary.word_error_rate,
        "errors": f"{summary.errors:,}",
        "truncated by decoding.max_symbols": f"{summary.truncated:,}" if summary.truncated else "",
        **job,
        "digest of all rows without words": summary.digest,
    }
    parts = [_table("Results", facts), _table("Last run", run)]
    if summary.errors:
        rows = "".join(f"<tr><td>{_shown(path)}</td><td>{_shown(why)}</td></tr>" for path, why in summary.listed)
        more = f", the first {_LISTED}" if summary.errors > _LISTED else ""
        parts.append(f"<h2>Errors{more}</h2><table><tr><th>recording</th><th>reason</th></tr>{rows}</table>")
    style = "body{font:15px sans-serif;margin:2em;max-width:70em}td,th{text-align:left;padding:.2em 1em .2em 0;"
    style += "vertical-align:top;overflow-wrap:anywhere}"
    page = (
        f"<!doctype html><html><head><meta charset='utf-8'><title>{_shown(title)}</title><style>{style}</style></head>"
    )
    write_file(ledger.folder / "report.html", f"{page}<body><h1>{_shown(title)}</h1>{''.join(parts)}</body></html>\n")


def run_facts(seconds: float, hours: float, workers: int, deaths: int, earlier: int) -> dict[str, str]:
    """Return facts about a run for the page. earlier: portions that earlier runs have done."""
    return {
        "time": clock(seconds),
        "rate": f"{3600 * hours / seconds:,.1f} x real time" if hours else "",
        "actors": str(workers),
        "workers that died": str(deaths),
        "portions done by earlier runs": f"{earlier:,}",
    }


def _table(title: str, facts: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{_shown(key)}</th><td>{_shown(str(value))}</td></tr>" for key, value in facts.items() if value
    )
    return f"<h2>{_shown(title)}</h2><table>{rows}</table>"


def _shown(text: str) -> str:
    return escape(visible(text))
