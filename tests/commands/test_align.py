"""The verb `align`: its formats, where it takes the text from, the picture, and mistakes."""

import io
import json
import sys
from types import SimpleNamespace

import praatio.textgrid
import pytest
from matplotlib.image import imread

import rnnt


@pytest.fixture
def text(recordings, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text((recordings / "00.txt").read_text().replace(" ", "\n"))
    return path


def test_a_line_for_each_word(call, run, recordings, text, tmp_path, capsys):
    said = text.read_text().split()
    assert call("align", run, recordings / "00.wav", text) == 0
    out, err = capsys.readouterr()
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[4] for row in rows] == said and not err
    words = rnnt.load(run).align(recordings / "00.wav", " ".join(said)).words
    for row, word in zip(rows, words):
        assert [float(x) for x in row[:3]] == pytest.approx([word.start, word.end, word.confidence], abs=1e-3)
        assert row[3] == ("?" if word.confidence < 0.5 else "")
    assert call("align", run, recordings / "00.wav", text, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "00.txt").read_text() == out


def test_the_text_may_come_from_standard_input(call, run, recordings, text, monkeypatch, capsys):
    assert call("align", run, recordings / "00.wav", text) == 0
    expected = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.read_bytes())))
    assert call("align", run, recordings / "00.wav", "-") == 0
    assert capsys.readouterr().out == expected
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\xff")))
    assert call("align", run, recordings / "00.wav", "-") == 2
    assert "standard input: is not UTF-8 text (byte 0)" in capsys.readouterr().err


def test_other_formats(call, run, recordings, text, tmp_path, capsys):
    assert call("align", run, recordings / "00.wav", text, "--format", "json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["text"].split() == text.read_text().split() == [word["word"] for word in record["words"]]
    assert call("align", run, recordings / "00.wav", text, "--format", "textgrid", "--out", tmp_path) == 0
    grid = praatio.textgrid.openTextgrid(str(tmp_path / "00.TextGrid"), includeEmptyIntervals=False)
    assert [entry.label for entry in grid.getTier("words").entries] == text.read_text().split()


def test_a_picture_is_drawn(call, run, recordings, text, tmp_path):
    assert call("align", run, recordings / "00.wav", text, "--picture", tmp_path / "new" / "a.png") == 0
    assert imread(tmp_path / "new" / "a.png").ndim == 3


def test_mistakes_get_one_line(call, run, recordings, text, tmp_path, capsys):
    audio = recordings / "00.wav"
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "other.txt").write_text("löw")
    (tmp_path / "long.txt").write_text("low mid high " * 1000)
    (tmp_path / "latin.txt").write_bytes(b"l\xf6w")
    (tmp_path / "file").write_text("")
    cases = [
        ([audio, tmp_path / "empty.txt"], "the text to align is empty"),
        ([audio, tmp_path / "other.txt"], "unknown to the tokenizer: 'ö'"),
        ([audio, tmp_path / "long.txt"], "more than 100 a second"),
        ([audio, tmp_path / "latin.txt"], "is not UTF-8 text"),
        ([audio, tmp_path / "absent.txt"], "absent.txt: No such file"),
        ([recordings / "absent.wav", text], "absent.wav: no such file"),
        ([recordings / "cut.wav", text], "truncated"),
        ([audio, text, "--format", "doc"], "there is no format 'doc'"),
        ([audio, text, "--out", tmp_path / "file"], "cannot write into the folder"),
        ([audio, text, "--picture", tmp_path / "file" / "a.png"], "give --picture another file"),
    ]
    for arguments, why in cases:
        assert call("align", run, *arguments) == 2
        out, err = capsys.readouterr()
        assert not out and err.count("\n") == 1 and why in err, err


def test_more_models_align_together(call, run, others, recordings, text, tmp_path, capsys):
    picture = tmp_path / "lattice.png"
    options = ["--model", others[0], "--model", others[1], "--format", "json", "--picture", picture]
    assert call("align", run, recordings / "00.wav", text, *options) == 0
    record = json.loads(capsys.readouterr().out)
    expected = rnnt.load([run, *others]).align(recordings / "00.wav", text.read_text())
    assert record["log_probs"] == pytest.approx(expected.log_probs, abs=1e-5)
    assert [word["start"] for word in record["words"]] == [word.start for word in expected.words]
    assert record["log_probs"] != rnnt.load(run).align(recordings / "00.wav", text.read_text()).log_probs
    assert imread(picture).shape[2] == 4


@pytest.fixture(scope="module")
def letters(speller, tmp_path_factory):
    folder = tmp_path_factory.mktemp("letters") / "model"
    speller.save(folder)
    return folder


def test_a_line_for_each_output_symbol(call, letters, speller, tmp_path, capsys):
    assert call("align", letters, "cab", "C B", "--text") == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    emitted = speller.align_symbols("cab", "C B").emitted
    assert rows == [[str(x.frame + 1), x.input, f"{x.probability:.3f}", x.symbol] for x in emitted]
    assert call("align", letters, "--text", "cab", "--picture", tmp_path / "a.png") == 0  # the model's own output
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows] == [("1", "c", "C"), ("2", "a", "A"), ("3", "b", "B")]
    assert imread(tmp_path / "a.png").ndim == 3
    assert call("align", letters, "--text", "cab", "C B", "--format", "json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["input"] == ["c", "a", "b"] and record["text"] == "C B" and 0 < record["probability"] < 0.1
    assert [each["symbol"] for each in record["symbols"]] == ["C", "B"]


def test_mistakes_with_symbols_get_one_line(call, letters, run, recordings, tmp_path, capsys):
    cases = [
        ([letters, "cab", "C A B"], "reads symbols, such as the letters of words, not audio; give it text: --text"),
        ([run, "cab", "C A B", "--text"], "this model reads audio, not symbols"),
        ([run, recordings / "00.wav"], "give the file with the text after the recording"),
        ([letters, "cab", "X", "--text"], "unknown to the tokenizer: 'X'"),
        ([letters, "cab", "C", "--text", "--format", "srt"], "--text has the formats text and json"),
        ([letters, "cab", "C", "--text", "--out", tmp_path], "--out writes a file for each recording"),
    ]
    for arguments, why in cases:
        assert call("align", *arguments) == 2
        out, err = capsys.readouterr()
        assert not out and err.count("\n") == 1 and why in err, err
