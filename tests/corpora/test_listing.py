import json
import math

import numpy as np
import pytest
import soundfile

from rnnt.corpora import read_splits
from rnnt.corpora.listing import read_list
from rnnt.prepare import prepare


def record(path, seconds=2.0, rate=16000):
    """A ramp: the value of each sample is its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, (np.arange(round(rate * seconds)) % 30000).astype(np.int16), rate)


def write(path, *entries):
    path.write_text("".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in entries), "utf-8")
    problems = []
    return {u.id: u for u in read_list(path, problems)}, dict(problems)


def test_a_duration_without_an_offset_begins_with_the_recording(tmp_path):
    record(tmp_path / "a.wav")
    found, problems = write(
        tmp_path / "list.jsonl",
        {"audio": "a.wav", "text": "first", "duration": 0.5, "id": "first"},
        {"audio": "a.wav", "text": "first", "duration": 0.5, "offset": None, "id": "null"},
        {"audio": "a.wav", "text": "first", "duration": 0.5, "offset": 0, "id": "zero"},
        {"audio": "a.wav", "text": "whole", "duration": 1.95, "id": "rounded"},
        {"audio": "a.wav", "text": "whole", "duration": 2.05, "id": "rounded up"},
        {"audio": "a.wav", "text": "rest", "offset": 1.5, "id": "rest"},
        {"audio": "a.wav", "text": "too much", "duration": 3, "id": "long"},
    )
    assert not problems
    lengths = {name: len(u.read(16000)) for name, u in found.items() if name != "long"}
    assert lengths == {
        "first": 8000, "null": 8000, "zero": 8000, "rounded": 32000, "rounded up": 32000, "rest": 8000
    }  # fmt: skip
    for name in ("first", "null", "zero"):
        np.testing.assert_array_equal(found[name].read(16000), np.arange(8000))
    assert len(found["first"].read(8000)) == 4000
    with pytest.raises(ValueError, match=r"a.wav: is 2.00 s long, too short for 3 s"):
        found["long"].read(16000)


@pytest.mark.parametrize("frames", [2**36 - 1, 0, 8000])
def test_a_duration_does_not_trust_the_header(tmp_path, frames):
    """A FLAC header that promises too much, nothing, or too little: the text belongs to what is there."""
    record(tmp_path / "a.flac")
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] = content[21] & 0xF0 | frames >> 32
    content[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    (tmp_path / "a.flac").write_bytes(content)
    found, _ = write(tmp_path / "list.jsonl", {"audio": "a.flac", "text": "first", "duration": 0.25})
    np.testing.assert_array_equal(found["a"].read(16000), np.arange(4000))


def test_ids_of_segments_and_formats_do_not_collide(tmp_path):
    found, problems = write(
        tmp_path / "list.jsonl",
        {"audio": "a.wav", "text": "x"},
        {"audio": "b.wav", "text": "x"},
        {"audio": "b.flac", "text": "x"},
        {"audio": "long.wav", "text": "x", "offset": 123456.25, "duration": 1},
        {"audio": "long.wav", "text": "x", "offset": 123456.5, "duration": 1},
        {"audio": "long.wav", "text": "x", "offset": 5, "duration": 1},
        {"audio": "long.wav", "text": "x", "offset": 7, "duration": 1},
        {"audio": "long.wav", "text": "x", "offset": 7, "duration": 2},
        {"audio": "long.wav", "text": "again", "offset": 5.0, "duration": 1.0},
    )
    assert list(found) == [
        "a", "b.wav", "b.flac", "long.wav@123456.25+1.0", "long.wav@123456.5+1.0", "long@5", "long.wav@7.0+1.0",
        "long.wav@7.0+2.0",
    ]  # fmt: skip
    assert problems == {"line 9": "the id long@5 occurs twice"}


def test_zero_is_a_name(tmp_path):
    found, _ = write(
        tmp_path / "list.jsonl",
        {"audio": "a.wav", "text": "x", "speaker": 0, "id": 0},
        {"audio": "b.wav", "text": "x", "speaker": "0", "id": 1},
        {"audio": "c.wav", "text": "x", "speaker": math.nan, "id": None},
    )
    assert [(u.id, u.speaker) for u in found.values()] == [("0", "0"), ("1", "0"), ("c", "")]


ABSURD = [
    '{"audio": "a.wav", "text": "x", "offset": 1' + "0" * 400 + "}",
    '{"audio": "a.wav", "text": "x", "offset": 1' + "0" * 5000 + "}",
    '{"audio": "a.wav", "text": "x", "offset": NaN}',
    '{"audio": "a.wav", "text": "x", "offset": -1}',
    '{"audio": "a.wav", "text": "x", "duration": 1' + "0" * 400 + "}",
    '{"audio": "a.wav", "text": "x", "duration": Infinity}',
    '{"audio": "a.wav", "text": "x", "duration": 0}',
    '{"audio": "a.wav", "text": "x", "duration": []}',
    '{"audio": "a.wav", "text": "x", "speaker": {}}',
    '{"audio": "a.wav", "text": "x", "id": true}',
    '{"audio": "a.wav", "text": NaN}',
    '{"audio": 5, "text": "x"}',
    '{"audio": ".", "text": "x"}',
    '{"a": ' + "[" * 100_000,
    "[" * 100_000,
    "null",
    "5",
]


@pytest.mark.parametrize("line", ABSURD)
def test_an_absurd_line_is_left_out_alone(tmp_path, line):
    good = [{"audio": "a.wav", "text": "x"}, {"audio": "b.wav", "text": "x"}]
    found, problems = write(tmp_path / "list.jsonl", good[0], line, good[1])
    assert list(found) == ["a", "b"] and list(problems) == ["line 2"]
    assert 0 < len(problems["line 2"]) < 200


def test_problems_come_in_the_order_of_the_lines(tmp_path):
    good = {"audio": "a.wav", "text": "x"}
    _, problems = write(tmp_path / "list.jsonl", good, "broken", good, *["broken"] * 9, good)
    assert list(problems) == [f"line {n}" for n in range(2, 14)]
    assert problems["line 3"] == problems["line 13"] == "the id a occurs twice"
    assert problems["line 2"] == "expected a path and a text (path<TAB>text, or a JSON object with both)"


@pytest.mark.parametrize("text", [r"half \ud83d of a pair", r"\udcfc", r"nul \u0000 inside"])
@pytest.mark.parametrize("key", ["text", "id", "speaker"])
def test_what_is_not_text_leaves_out_one_utterance(tmp_path, key, text):
    record(tmp_path / "a.wav", 0.5)
    record(tmp_path / "b.wav", 0.5)
    bad = {"audio": "a.wav", "text": "x", key: "VALUE"}
    write(tmp_path / "list.jsonl", json.dumps(bad).replace("VALUE", text), {"audio": "b.wav", "text": "y"})
    summary = prepare(read_splits("folder", tmp_path / "list.jsonl", split="all"), tmp_path / "out", workers=1)["all"]
    if "nul" in text and key != "text":
        assert (summary.utterances, summary.skipped) == (2, 0)
        return
    assert (summary.utterances, summary.skipped) == (1, 1)
    expected = "holds NUL characters" if "nul" in text else "is not valid Unicode"
    assert expected in (summary.folder / "skipped.tsv").read_text()


@pytest.mark.parametrize(
    "header", ["path\ttext\tspeaker", "speaker\ttext\tpath", "Text\tAUDIO\tSpeaker", "speaker\taudio_filepath\ttext"]
)
def test_a_header_may_name_the_columns_in_any_order(tmp_path, header):
    cells = {"path": "a.wav", "audio": "a.wav", "audio_filepath": "a.wav", "text": "one path", "speaker": "anna"}
    row = "\t".join(cells[name] for name in header.lower().split("\t"))
    found, problems = write(tmp_path / "list.tsv", header, row)
    assert [(u.id, u.text, u.speaker) for u in found.values()] == [("a", "one path", "anna")] and not problems


def test_a_first_line_that_is_no_header(tmp_path):
    for text in ("path", "audio", "text", "the path"):
        found, problems = write(tmp_path / "list.tsv", f"a.wav\t{text}", "b.wav\ttwo")
        assert [u.text for u in found.values()] == [text, "two"] and not problems


def test_columns_with_the_same_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"list.tsv: two columns have the same name \(path, text, text\)"):
        write(tmp_path / "list.tsv", "path\ttext\ttext", "a.wav\tone\ttwo")


def test_times_and_ids_in_a_table(tmp_path):
    record(tmp_path / "a.wav")
    found, problems = write(
        tmp_path / "list.tsv",
        "id\tpath\toffset\tduration\ttext",
        "0\ta.wav\t0.5\t1\tone",
        "\ta.wav\t\t\ttwo",
        "x\ta.wav\t-1\t1\tthree",
    )
    assert {name: len(u.read(16000)) for name, u in found.items()} == {"0": 16000, "a": 32000}
    assert list(problems) == ["line 4"]


def test_quotes_in_a_table_are_characters(tmp_path):
    texts = ['"one', 'two"', '"three"', 'he said "four"', '""', '"']
    found, problems = write(tmp_path / "list.tsv", *(f"{n}.wav\t{text}" for n, text in enumerate(texts)))
    assert [u.text for u in found.values()] == texts and not problems


def test_a_table_that_a_spreadsheet_has_quoted_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the names of the columns are in quotes; save the table without quoting"):
        write(tmp_path / "list.tsv", '"path"\t"text"', '"a.wav"\t"one"')
    found, problems = write(
        tmp_path / "list.tsv",
        'a.wav\t"he said ""go"""',
        'b.wav\t"a line',
        'that goes on"',
        "c.wav\tthree",
    )
    assert [u.text for u in found.values()] == ["three"]
    assert "quoted as spreadsheets do it; save the table without quoting" in problems["line 1"]
    assert "goes on in the next line" in problems["line 2"] and "line 3" in problems
