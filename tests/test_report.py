"""The report's files: complete, escaped, well formed, written whole."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

import rnnt.files
from rnnt.comparison import compare, nbest_records, table_json
from rnnt.config import ScoringConfig
from rnnt.error_rate import Pair, character_error_rate, word_error_rate
from rnnt.evaluation import Alternative, DecoderResult, Evaluation
from rnnt.measure import measure_of
from rnnt.report import SHOWN, write_report
from rnnt.usage import Usage

PAIRS = [
    Pair("right", "all is well", "all is well", 1.5),
    Pair("one", "the cat sat on the mat", "the bat sat on the mat", 2.0),
    Pair("three", "the cat sat down", "cat bat down now", 2.5),
    Pair("silent", "", "uh", 1.0),
    Pair("short", "hello", "", 0.5),
]
KINDS = ("substitutions", "deletions", "insertions")
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that tags balance; keeps the text, the attributes, and each utterance's columns."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.text, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def page_of(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def articles(folder):
    return re.findall(r"<article>.*?</article>", (folder / "report.html").read_text(encoding="utf-8"), re.S)


def test_files(tmp_path):
    folder = tmp_path / "new" / "report"
    write_report(folder, PAIRS, "Test set", [("bad\t1", "truncated\nfile")])
    assert sorted(path.name for path in folder.iterdir()) == [
        "pairs.jsonl",
        "report.html",
        "scores.json",
        "skipped.tsv",
    ]
    records = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    assert [(r["id"], r["reference"], r["hypothesis"], r["seconds"]) for r in records] == [
        (p.id, p.reference, p.hypothesis, p.seconds) for p in PAIRS
    ]
    assert [(r["errors"], r["words"]) for r in records] == [(0, 3), (1, 6), (3, 4), (1, 0), (1, 1)]
    assert (folder / "skipped.tsv").read_text() == "bad 1\ttruncated file\n"
    scores = json.loads((folder / "scores.json").read_text())
    assert (scores["title"], scores["utterances"], scores["skipped"], scores["seconds"]) == ("Test set", 5, 1, 7.5)
    for name, rate in (("word", word_error_rate(PAIRS)), ("character", character_error_rate(PAIRS))):
        assert scores[name]["rate"] == rate.rate
        assert (scores[name]["low"], scores[name]["high"]) == (rate.low, rate.high)
        assert scores[name]["errors"] == rate.errors == sum(scores[name][k] for k in KINDS)
        assert scores[name]["reference_length"] == rate.reference_length


def test_page_shows_totals_and_worst_first(tmp_path):
    write_report(tmp_path, PAIRS, "Test set")
    text = " ".join(page_of(tmp_path).text)
    assert f"{100 * word_error_rate(PAIRS).rate:.2f} %" in text
    assert "5 utterances, 4 of them with errors (80.0 %), 0.1 minutes." in text
    order = [re.search("<h3>(\\w+)", article)[1] for article in articles(tmp_path)]
    assert order == ["three", "silent", "short", "one"]
    assert "Without errors (1)" in text and "all is well" in text
    assert "Skipped" not in text and not (tmp_path / "skipped.tsv").exists()


def test_page_aligns_and_marks_each_error(tmp_path):
    write_report(tmp_path, [Pair("u", "a b c", "a x c d"), Pair("v", "e f", "f")], "t")
    first, second = articles(tmp_path)
    columns = re.findall(r'<span class="c (\w?)">(.*?)(?:<b>(\w)</b>)?</span>(?=<span class="c|</div>)', first)
    assert columns == [
        ("", "<span>a</span><span>a</span>", ""),
        ("S", "<span>b</span><span>x</span>", "S"),
        ("", "<span>c</span><span>c</span>", ""),
        ("I", "<i>∗</i><ins>d</ins>", "I"),
    ]
    assert '<span class="c D"><del>e</del><i>∗</i><b>D</b></span>' in second


def test_page_counts_frequent_errors(tmp_path):
    pairs = [Pair(str(i), "the cat", "the bat") for i in range(3)] + [
        Pair("x", "oh yes", "yes"),
        Pair("y", "no", "no uh"),
    ]
    pairs += [Pair(f"z{i}", f"w{i}", f"v{i}") for i in range(25)]
    write_report(tmp_path, pairs, "t")
    page = (tmp_path / "report.html").read_text()
    assert "<td><bdi>cat</bdi> → <bdi>bat</bdi></td><td>3</td>" in page
    assert "<td><bdi>oh</bdi></td><td>1</td>" in page and "<td><bdi>uh</bdi></td><td>1</td>" in page
    assert page.index("Most confused") < page.index("<bdi>cat") < page.index("<bdi>w0") < page.index("Most deleted")
    assert "and 16 more" in page


def test_text_is_escaped_and_nothing_is_loaded(tmp_path):
    nasty = '<script>alert("1")</script> & <img/src=x> {body} </style>'
    pairs = [Pair(nasty, nasty, "x"), Pair("b" + nasty, nasty, nasty)]
    write_report(tmp_path, pairs, nasty, [(nasty, nasty)])
    page = page_of(tmp_path)
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert page.tags.count("style") == 1 and page.tags.count("body") == 1
    assert not {name for name, _ in page.attributes} & {"src", "href", "onload", "style"}
    text = "".join(page.text)
    assert text.count(nasty) >= 5  # title twice, ids, the right one, the skipped one
    raw = (tmp_path / "report.html").read_text()
    assert "url(" not in raw and "@import" not in raw and "http://" not in raw and "https://" not in raw
    assert "prefers-color-scheme: dark" in raw


def test_scripts_and_names_of_all_kinds(tmp_path):
    pairs = [Pair("ar", "مرحبا بالعالم", "مرحبا"), Pair("\udcff.wav", "日本 語", "日本"), Pair("e", "😀 a", "a")]
    write_report(tmp_path, pairs, "Ünïcode", [("\udcfe.wav", "not audio")])
    page_of(tmp_path)
    records = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [record["id"] for record in records] == ["ar", "\udcff.wav", "e"]
    assert "日本" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "skipped.tsv").read_text() == "\\udcfe.wav\tnot audio\n"


def test_a_huge_set_shows_the_worst_and_says_so(tmp_path):
    wrong = [Pair(f"w{i}", "a " * (i % 7 + 1), "") for i in range(SHOWN + 20)]
    right = [Pair(f"r{i}", "a", "a") for i in range(SHOWN + 10)]
    write_report(tmp_path, right + wrong, "t", [(f"s{i}", "bad") for i in range(SHOWN + 5)])
    shown = articles(tmp_path)
    assert len(shown) == SHOWN
    counts = [int(re.search(r"(\d+) errors? in", article)[1]) for article in shown]
    assert counts == sorted(counts, reverse=True) and counts[0] == 7
    text = " ".join(page_of(tmp_path).text)
    assert f"most errors first ({SHOWN + 20})" in text and f"Only the worst {SHOWN} are shown" in text
    assert f"Without errors ({SHOWN + 10})" in text and f"Skipped ({SHOWN + 5})" in text
    assert text.count(f"Only the first {SHOWN} are shown") == 2
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 2 * SHOWN + 30
    assert len((tmp_path / "skipped.tsv").read_text().splitlines()) == SHOWN + 5


def test_a_second_report_replaces_the_first(tmp_path):
    write_report(tmp_path, PAIRS, "first", [("a", "b")])
    write_report(tmp_path, PAIRS[:1], "second")
    assert not (tmp_path / "skipped.tsv").exists()
    assert json.loads((tmp_path / "scores.json").read_text())["title"] == "second"
    assert not articles(tmp_path) and "with errors, most errors first (0)" in "".join(page_of(tmp_path).text)


def test_a_failed_write_leaves_the_old_file_and_no_scrap(tmp_path, monkeypatch):
    write_report(tmp_path, PAIRS, "first")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rnnt.files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(tmp_path, PAIRS[1:], "second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_ids_and_reasons_are_neither_computed_nor_obeyed(tmp_path):
    rows = [("=1+1", "@SUM(1)"), ("\t-2", '"=3"'), ("a\x1b]0;x\x07", "b\rc\u202e")]
    write_report(tmp_path, PAIRS, "t", rows)
    assert (tmp_path / "skipped.tsv").read_text().split("\n") == [
        "'=1+1\t'@SUM(1)", "'-2\t'\"=3\"", r"a\x1b]0;x\x07" + "\t" + r"b c\u202e", "",
    ]  # fmt: skip


def test_all_skipped_still_lists_them(tmp_path):
    with pytest.raises(ValueError, match="no utterance to score"):
        write_report(tmp_path, [], "t", [("a", "empty file")])
    assert (tmp_path / "skipped.tsv").read_text() == "a\tempty file\n"


def decoder_lines(nbest=False):
    other = [dataclasses.replace(pair, hypothesis=pair.reference) for pair in PAIRS]
    lists = [[Alternative(pair.hypothesis, [1], -1.0, -2.0)] for pair in PAIRS] if nbest else []
    results = [
        DecoderResult(name, pairs, [], lists, Usage(1.0, 2**20)) for name, pairs in (("greedy", PAIRS), ("<b>", other))
    ]
    return compare(Evaluation(PAIRS, 0.1, 7, [], [], [], results, Usage(2.0, 2**20)))


def test_the_table_of_decoders(tmp_path):
    lines = decoder_lines()
    write_report(tmp_path, PAIRS, "Test set", lines=lines)
    page = page_of(tmp_path)
    assert "Decoders" in page.text and "<b>" in page.text and "minus first row" in page.text
    assert json.loads((tmp_path / "scores.json").read_text())["decoders"] == table_json(lines)
    records = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert [r["hypotheses"] for r in records] == [{"greedy": p.hypothesis, "<b>": p.reference} for p in PAIRS]
    assert [r["hypothesis"] for r in records] == [p.hypothesis for p in PAIRS]
    assert not (tmp_path / "nbest.jsonl").exists()


def test_lists_of_hypotheses_are_written_and_replaced(tmp_path):
    lines = decoder_lines(nbest=True)
    write_report(tmp_path, PAIRS, "Test set", lines=lines)
    records = [json.loads(line) for line in (tmp_path / "nbest.jsonl").read_text().splitlines()]
    assert records == list(nbest_records(lines)) and len(records) == 2 * len(PAIRS)
    write_report(tmp_path, PAIRS, "Test set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.jsonl", "report.html", "scores.json"]
    assert "decoders" not in json.loads((tmp_path / "scores.json").read_text())
    assert "Decoders" not in page_of(tmp_path).text


def test_symbols(tmp_path):
    pairs = [
        Pair("w1", "R EH D", "R EH T", input=tuple("r<d"), references=("R IY D", "R EH D")),
        Pair("w2", "K AE T", "K AE T", input=("ca", "t")),
        Pair("w3", "AH", "", input=("a", "b c")),
    ]
    measure = measure_of(ScoringConfig(measure="sequences"))
    write_report(tmp_path, pairs, "Words", measure=measure)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (scores["sequence"]["rate"], scores["symbol"]["errors"]) == (2 / 3, 2)
    assert "word" not in scores and "character" not in scores
    records = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert [(r["errors"], r["symbols"]) for r in records] == [(1, 3), (0, 3), (1, 1)]
    assert records[0]["references"] == ["R IY D", "R EH D"] and "references" not in records[1]
    assert [record["input"] for record in records] == [["r", "<", "d"], ["ca", "t"], ["a", "b c"]]
    assert all("seconds" not in record for record in records)
    text = " ".join("".join(page_of(tmp_path).text).split())
    assert "Sequence error rate (WER)" in text and "Symbol error rate (PER)" in text
    assert "w1 r<d 1 error in 3 symbols, nearest of 2 references" in text and "w3 a b c 1 error in 1 symbol" in text
    assert "3 utterances, 2 of them with errors (66.7 %)." in text
    first, second = articles(tmp_path)
    assert '<span class="c S"><del>' not in first and "<span>D</span><span>T</span><b>S</b>" in second


def test_folded_phones_are_shown_as_they_count(tmp_path):
    pairs = [Pair("s1", "h# zh ix q", "h# sh ih t")]
    write_report(tmp_path, pairs, "Phones", measure=measure_of(ScoringConfig(measure="symbols", fold="timit-39")))
    assert json.loads((tmp_path / "scores.json").read_text())["symbol"]["rate"] == 1 / 3
    (record,) = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert (record["reference"], record["errors"], record["symbols"]) == ("h# zh ix q", 1, 3)
    assert "<span>sil</span><span>sil</span>" in articles(tmp_path)[0]
