"""The end of a job: counts, the word error rate, the page, and a digest that is the same for the same rows."""

import pytest

from rnnt.cluster.inputs import Recording
from rnnt.cluster.ledger import SCHEMA, open_ledger
from rnnt.cluster.summary import run_facts, summarize, write_page
from rnnt.error_rate import Pair, word_error_rate

TEXTS = [("the cat sat", "the bat sat down"), ("a", ""), ("", "b"), (None, "x y"), ("same words", "same words")]


def row(path, reference, text, **values):
    rest = {"words": [], "transcribed": 1800.0, "left_out": 900.0, "truncated": False, "error": None}
    return {**dict.fromkeys(SCHEMA.names, ""), **rest, "path": path, "reference": reference, "text": text, **values}


@pytest.fixture
def ledger(tmp_path):
    job = {"task": "transcribe", "model": "m", "settings": "s"}
    with open_ledger(tmp_path, iter([Recording("/a", 1, 1)]), job, "parquet") as ledger:
        rows = [row(f"/{i}", *texts) for i, texts in enumerate(TEXTS)]
        ledger.write(0, rows[:2])
        ledger.write(
            1, [*rows[2:], row("/<b>", "ref", "", error="<i>why", transcribed=0.0, left_out=0.0, truncated=True)]
        )
        yield ledger


def test_a_summary_counts_and_scores(ledger):
    summary = summarize(ledger)
    assert (summary.recordings, summary.errors, summary.truncated) == (6, 1, 1)
    assert (summary.transcribed, summary.left_out) == (2.5, 1.25) and summary.listed == [("/<b>", "<i>why")]
    rate = word_error_rate([Pair(str(i), *texts) for i, texts in enumerate(TEXTS) if texts[0] is not None])
    assert (summary.scored, summary.wrong, summary.words) == (4, rate.errors, rate.reference_length)
    assert summary.word_error_rate == f"WER {100 * rate.rate:.2f} %, 4 errors in 6 words of 4 recordings"
    assert summary.hours == "2.50 hours transcribed, 1.25 hours left out"


def test_the_digest_is_that_of_the_rows(ledger):
    before = summarize(ledger).digest
    ledger.write(0, [row("/0", *TEXTS[0]), row("/1", *TEXTS[1])])
    assert summarize(ledger).digest == before
    ledger.write(0, [row("/0", *TEXTS[0]), row("/1", *TEXTS[1], transcribed=1800.5)])
    assert summarize(ledger).digest != before


def test_the_page_escapes_what_it_shows(ledger, tmp_path):
    facts = run_facts(100.0, 1.0, 2, 3, 4)
    write_page(ledger, summarize(ledger), "job & co", {"model": "m"}, facts)
    page = (tmp_path / "report.html").read_text()
    for shown in ("job &amp; co", "/&lt;b&gt;", "&lt;i&gt;why", "WER 66.67 %", "36.0 x real time", "0:01:40"):
        assert shown in page
    assert "<i>" not in page and "http" not in page
