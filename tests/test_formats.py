"""Transcripts in the formats of other programs, read back by the libraries for these formats."""

import html
import json
import sys
from dataclasses import dataclass, field

import praatio.textgrid
import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnt.formats import SUFFIXES, check_format, to_ctm, to_format, to_record, to_srt, to_textgrid, to_vtt
from rnnt.transcript import Symbol, Transcript, Word

ODD = ["a&b", "<i>it</i>", "{\\an8}", "\\h", "-->", '"quoted"', '""', "&lt;", "<", ">", "{", "}", "\\", "1"]
RIGHT_TO_LEFT = ["שלום", "עולם", "مرحبا", "\u202bword\u202c", "नमस्ते", "e\u0301", "👍🏽"]
JOINER = "\u2060"


def transcript_of(texts, step=0.5, seconds=None):
    """A transcript with a symbol and half a second for each word."""
    count = len(texts)
    times = [round(i * step, 3) for i in range(count + 1)]
    return Transcript(
        " ".join(texts), list(range(count)), list(range(count)), times[:-1], [-0.5] * count,
        times[-1] + 1 if seconds is None else seconds,
        words=[Word(text, *times[i : i + 2], 0.25) for i, text in enumerate(texts)],
        symbols=[Symbol(text, *times[i : i + 2], 0.25) for i, text in enumerate(texts)],
    )  # fmt: skip


def subtitles(content, kind):
    """The lines and the times in milliseconds of each cue."""
    read = pysubs2.SSAFile.from_string(content, format_=kind, keep_html_tags=True)
    return [(event.text.split("\\N"), event.start, event.end) for event in read]


def textgrid(content, tmp_path):
    path = tmp_path / "some.TextGrid"
    path.write_text(content, encoding="utf-8")
    grid = praatio.textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    return {name: [tuple(entry) for entry in grid.getTier(name).entries] for name in grid.tierNames}, grid.maxTimestamp


@pytest.mark.parametrize("kind", ["srt", "vtt"])
@pytest.mark.parametrize("texts", [["hello", "world"], RIGHT_TO_LEFT, ODD])
def test_subtitles_are_read_as_they_were_written(kind, texts):
    content = to_format(transcript_of(texts), kind, "x")
    cues = subtitles(content, kind)
    shown = " ".join(" ".join(lines) for lines, _, _ in cues).replace(JOINER, "")
    assert (html.unescape(shown) if kind == "vtt" else shown) == " ".join(texts)
    assert cues[0][1] == 0 and cues[-1][2] <= 1000 * (len(texts) * 0.5 + 1)


def test_text_is_never_taken_for_markup():
    texts = ["<i>one</i>", "{\\i1}two", "0:00:01,000 --> 0:00:02,000", "</b>"]
    content = to_srt(transcript_of(texts))
    ((lines, _, _),) = subtitles(content, "srt")
    assert not {"<i>", "</i>", "{\\i1}", "</b>"} & set(pysubs2.SSAFile.from_string(content)[0].text.split())
    plain = pysubs2.SSAFile.from_string(content, format_="srt")[0].text  # without HTML
    for shown in (plain.split("\\N"), lines):
        assert " ".join(shown).replace(JOINER, "") == " ".join(texts)
    assert "<" not in to_vtt(transcript_of(texts)).replace("-->", "")
    assert to_srt(transcript_of(["a\\Nb\\nc"])).splitlines()[2] == "a\\Nb\\nc"  # the library's mark of a new line


def test_a_line_break_in_a_word_makes_no_cue():
    evil = "a\n\n2\n00:00:03,000 --> 00:00:04,000\nb"
    for kind in ("srt", "vtt"):
        assert len(subtitles(to_format(transcript_of([evil]), kind, "x"), kind)) == 1
    assert len(to_ctm(transcript_of(["one\ntwo", "\x00", "\u2028"]), "x").splitlines()) == 1


def test_vtt_begins_as_the_standard_says():
    assert to_vtt(transcript_of(["hello"])).startswith("WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.000\nhello\n")


@pytest.mark.parametrize("texts", [["hello", "world"], RIGHT_TO_LEFT, ODD, []])
def test_a_textgrid_has_two_tiers(tmp_path, texts):
    tiers, last = textgrid(to_textgrid(transcript_of(texts)), tmp_path)
    expected = [(i / 2, i / 2 + 0.5, text) for i, text in enumerate(texts)]
    assert tiers == {"words": expected, "symbols": expected} and last == len(texts) / 2 + 1


def test_intervals_of_a_textgrid_last_and_do_not_overlap(tmp_path):
    symbols = [Symbol("a", 0.0, 0.3, 1.0), Symbol(" ", 0.3, 0.3, 1.0), Symbol("b", 0.3, 0.3, 1.0)]
    symbols += [Symbol("c", 0.2995, 0.3, 1.0), Symbol("d", 0.9, 0.9, 1.0)]
    words = [Word("ab", 0.0, 0.3, 1.0), Word("c", 0.3, 0.3, 1.0), Word("d", 0.9, 0.9, 1.0)]
    transcript = Transcript("ab c d", [], [], [], [], 0.9, words=words, symbols=symbols)
    tiers, last = textgrid(to_textgrid(transcript), tmp_path)
    assert [label for _, _, label in tiers["symbols"]] == ["a", "b", "c", "d"]
    assert tiers["words"] == [(0.0, 0.3, "ab"), (0.3, 0.301, "c"), (0.9, 0.901, "d")] and last == 0.901


def test_ctm_has_six_fields_a_line():
    content = to_ctm(transcript_of(["hello", "a b", "שלום"]), ";my recording")
    assert content.splitlines() == [
        "_my_recording 1 0.000 0.500 hello 0.250000",
        "_my_recording 1 0.500 0.500 a_b 0.250000",
        "_my_recording 1 1.000 0.500 שלום 0.250000",
    ]


def test_json_has_the_fields_of_openai():
    texts = ["hello", *RIGHT_TO_LEFT, *ODD, "two\nlines"]
    transcript = transcript_of(texts)
    record = json.loads(to_format(transcript, "json", "x"))
    assert record == to_record(transcript)
    assert record["task"] == "transcribe" and record["duration"] == transcript.seconds
    assert record["text"] == transcript.text and record["words"][0] == {
        "word": "hello", "start": 0.0, "end": 0.5, "confidence": 0.25
    }  # fmt: skip
    (segment,) = record["segments"]
    assert segment["tokens"] == transcript.tokens and segment["text"] == transcript.text
    assert {key: segment[key] for key in ("id", "seek", "start", "end", "avg_logprob", "confidence")} == {
        "id": 0, "seek": 0, "start": 0.0, "end": transcript.seconds, "avg_logprob": -0.5, "confidence": 0.25
    }  # fmt: skip
    assert {"language", "temperature", "no_speech_prob"}.isdisjoint({*record, *segment})


@dataclass(frozen=True)
class Stretch:
    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Long(Transcript):
    segments: list[Stretch] = field(default_factory=list)


def test_segments_have_their_own_tokens_and_words():
    short = transcript_of(["a", "b", "c", "d", "e"])
    cuts = [Stretch(0.0, 1.0, "a b"), Stretch(1.0004, 2.0, "c d"), Stretch(2.0, 2.5, "e")]
    record = to_record(Long(**{**vars(short), "segments": cuts}))
    assert [segment["tokens"] for segment in record["segments"]] == [[0, 1], [2, 3], [4]]
    assert [segment["text"] for segment in record["segments"]] == ["a b", "c d", "e"]
    assert [(segment["id"], segment["seek"]) for segment in record["segments"]] == [(0, 0), (1, 100), (2, 200)]
    assert to_format(Long(**{**vars(short), "segments": cuts}), "text", "x") == "a b\nc d\ne\n"


def test_numbers_that_json_lacks_are_null():
    transcript = Transcript("a", [0], [0], [0.0], [float("-inf")], 1.0)
    record = json.loads(to_format(transcript, "json", "x"), parse_constant=pytest.fail)
    assert record["log_probs"] == [None] and record["segments"][0]["avg_logprob"] is None


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_recording_without_words_is_empty(tmp_path, kind):
    content = to_format(Transcript("", [], [], [], [], 2.0), kind, "x")
    if kind == "json":
        assert json.loads(content)["segments"] == json.loads(content)["words"] == []
    elif kind == "textgrid":
        assert textgrid(content, tmp_path) == ({"words": [], "symbols": []}, 2.0)
    else:
        assert content.strip() == ("WEBVTT" if kind == "vtt" else "")


@pytest.mark.parametrize("kind", ["srt", "vtt", "ctm", "textgrid"])
def test_a_text_without_times_is_refused(kind):
    with pytest.raises(ValueError, match="no times of words; choose the format text or json"):
        to_format(Transcript("a", [0], [0], [0.0], [-0.1], 1.0), kind, "x")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\"), max_size=60), max_size=12))
def test_any_text_is_written_and_read(tmp_path_factory, texts):
    transcript = transcript_of(texts)
    kept = "".join(label for line in to_format(transcript, "text", "x").split("\n") for label in line.split())
    words = [line.split()[4] for line in to_ctm(transcript, "x").splitlines()]
    assert "".join(words).replace("_", "") == kept.replace("_", "")
    tiers, _ = textgrid(to_textgrid(transcript), tmp_path_factory.mktemp("grid"))
    assert len(tiers["words"]) == len(words)
    for kind in ("srt", "vtt"):
        cues = subtitles(to_format(transcript, kind, "x"), kind)
        assert all(len(lines) <= 2 and 0 < end - start <= 7000 for lines, start, end in cues)


def test_half_a_character_is_left_out():
    assert "\ud800" not in to_srt(transcript_of(["a\ud800b"])) + to_textgrid(transcript_of(["a\ud800b"]))


@pytest.mark.parametrize(("kind", "package"), [("srt", "pysubs2"), ("vtt", "pysubs2"), ("textgrid", "praatio")])
def test_a_missing_package_is_named(monkeypatch, kind, package):
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"format {kind} needs the package {package}: pip install 'rnnt\[formats\]'"):
        check_format(kind)


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match="there is no format 'doc'; choose one of text, json, srt, vtt, ctm, textgrid"):
        check_format("doc")
