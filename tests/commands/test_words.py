"""The option --text of the verb transcribe: where words come from, the formats, and words that make no sense."""

import io
import json
import sys
from types import SimpleNamespace

import pytest

import rnnt
from rnnt.commands import words


@pytest.fixture(scope="module")
def model(speller, tmp_path_factory):
    folder = tmp_path_factory.mktemp("words") / "model"
    speller.save(folder)
    return folder


@pytest.fixture
def type_in(monkeypatch):
    def put(content):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    return put


def test_words_of_the_command_line(call, model, capsys):
    assert call("transcribe", model, "--text", "ab", "cab", "ab") == 0
    out, err = capsys.readouterr()
    assert out == "ab\tA B\ncab\tC A B\nab\tA B\n" and not err


def test_words_of_files_and_standard_input(call, model, type_in, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(words, "_TOGETHER", 2)
    file = tmp_path / "words.list"
    file.write_bytes("\ufeffab\r\n\r\n  b \ncab".encode())
    type_in(b"a\nbb\n")
    assert call("transcribe", model, "--text", file, "ab", "-") == 0
    assert capsys.readouterr().out.splitlines() == ["ab\tA B", "b\tB", "cab\tC A B", "ab\tA B", "a\tA", "bb\tB B"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ab").mkdir()
    (tmp_path / "cab").write_text("b")  # neither the folder nor the file hides the word
    assert call("transcribe", model, "--text", "ab", "cab") == 0
    assert capsys.readouterr().out == "ab\tA B\ncab\tC A B\n"
    assert call("transcribe", model, "--text", "./cab") == 0
    assert capsys.readouterr().out == "b\tB\n"


def test_several_outputs_with_their_probabilities(call, model, capsys):
    assert call("transcribe", model, "--text", "cab", "b", "--nbest", "3") == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    found = rnnt.load(model).transduce(["cab", "b"], nbest=3)
    assert rows == [[x.input, f"{each.probability:.6f}", each.text] for x in found for each in x.candidates]
    assert len(rows) == 6 and [row[2] for row in rows[::3]] == ["C A B", "B"]


def test_a_beam_is_made_as_wide_as_the_list(call, model, capsys):
    for nbest, decoding, count in ((9, "beam:2", 9), (2, "beam:9", 2)):
        assert call("transcribe", model, "--text", "cab", "--nbest", nbest, "--decoding", decoding) == 0
        assert len(capsys.readouterr().out.splitlines()) == count


def test_json(call, model, capsys):
    assert call("transcribe", model, "--text", "cab", "xa", "--format", "json", "--nbest", "2") == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert set(first) == {"input", "text", "probability", "truncated", "nbest", "unknown"}
    assert (first["text"], first["unknown"], second["unknown"]) == ("C A B", [], ["x"])
    assert first["nbest"][0]["probability"] == first["probability"] > 0.8
    assert call("transcribe", model, "--text", "cab", "--json") == 0
    assert "nbest" not in json.loads(capsys.readouterr().out)


def test_unknown_symbols_are_named_once(call, model, capsys, monkeypatch):
    monkeypatch.setattr(words, "_TOGETHER", 1)
    assert call("transcribe", model, "--text", "ab", "xa", "yaxx\u202e") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3 and "\u202e" not in out + err
    assert err.count("\n") == 1 and "not trained on 'x', 'y', '\\u202e' (first in 'xa')" in err.replace("\\\\", "\\")


def test_words_that_make_no_sense_are_named_and_the_others_go_on(call, model, type_in, capsys):
    type_in(b"ab\nc\xffb\na\x00b\nab\tA B\n" + b"ab" * 1001 + b"\ncab\n" + b"abc" * 167 + b"\n")
    assert call("transcribe", model, "--text", "-", "--decoding", "greedy") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[:2] == ["ab\tA B", "cab\tC A B"] and len(out.splitlines()) == 3
    lines = [line for line in err.splitlines() if line.startswith("error")]
    assert [line.partition("line ")[2] for line in lines] == [
        "2: is not UTF-8 text (byte 1); convert it to UTF-8",
        "3: holds the control character U+0000; remove it",
        "4: holds a tab; give the word alone, as cut -f1 does",
        "5: has 2002 symbols, more than 2000; split it",
    ]
    assert "4 of 7 words could not be decoded" in err
    type_in(b"c\xffb\nab\n")
    assert call("transcribe", model, "--text", "-", "--json") == 1
    bad, good = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert bad == {"input": "c\ufffdb", "error": "is not UTF-8 text (byte 1); convert it to UTF-8"}
    assert good["text"] == "A B"
    assert call("transcribe", model, "--text", "  ") == 2


def test_an_output_that_is_truncated_is_reported(call, spell, tmp_path, capsys):
    spell(decoding={"method": "beam", "max_symbols": 1}).save(tmp_path / "model")
    assert call("transcribe", tmp_path / "model", "--text", "abcab") == 0
    assert "the word 'abcab': the output is truncated at decoding.max_symbols" in capsys.readouterr().err


def test_mistakes_get_one_line(call, model, run, recordings, type_in, tmp_path, capsys):
    type_in(b"\n \n")
    cases = [
        ([model, "ab"], "reads symbols, such as the letters of words, not audio; give it text"),
        ([run, "--text", "ab"], "this model reads audio, not symbols; give it recordings"),
        ([model, "--text", tmp_path / "absent.txt"], "absent.txt: no such file"),
        ([model, "--text", "-"], "there are no words"),
        ([model, "--text", "ab", "--format", "srt"], "--text has the formats text and json, not 'srt'"),
        ([model, "--text", "ab", "--out", tmp_path], "--out writes a file for each recording"),
        ([model, "--text", "ab", "--nbest", "2", "--decoding", "greedy"], "greedy search finds one output, not 2"),
        ([run, recordings / "00.wav", "--nbest", "2"], "--nbest goes with --text"),
    ]
    for arguments, why in cases:
        assert call("transcribe", *arguments) == 2
        out, err = capsys.readouterr()
        assert not out and err.count("\n") == 1 and why in err, err
