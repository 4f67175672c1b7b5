"""Files for transcripts: their names, what they hold, and folders and names that are refused before any work."""

import json
import shutil

import praatio.textgrid
import pysubs2
import pytest

import rnnt
from rnnt.commands.output import output_files
from rnnt.formats import SUFFIXES


@pytest.fixture(scope="module")
def transcripts(run, recordings):
    paths = [recordings / "00.wav", recordings / "01.wav"]
    return dict(zip(paths, rnnt.load(run).transcribe(paths)))


@pytest.mark.parametrize("kind", SUFFIXES)
def test_each_recording_gets_a_file(call, run, transcripts, tmp_path, capsys, kind):
    out = tmp_path / "deep" / "folder"
    out.mkdir(parents=True)
    (out / f"00{SUFFIXES[kind]}").write_text("an older and much longer text " * 1000)
    assert call("transcribe", run, *transcripts, "--format", kind, "--out", out) == 0
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in out.iterdir()) == [f"{n}{SUFFIXES[kind]}" for n in ("00", "01")]
    for path, transcript in transcripts.items():
        assert transcript.words
        content = (out / f"{path.stem}{SUFFIXES[kind]}").read_text()
        if kind == "json":
            text = json.loads(content)["text"]
        elif kind in ("srt", "vtt"):
            text = " ".join(event.plaintext for event in pysubs2.SSAFile.from_string(content))
        elif kind == "ctm":
            text = " ".join(line.split()[4] for line in content.splitlines())
        elif kind == "textgrid":
            grid = praatio.textgrid.openTextgrid(str(out / f"{path.stem}.TextGrid"), includeEmptyIntervals=False)
            text = " ".join(entry.label for entry in grid.getTier("words").entries)
        else:
            text = content
        assert text.split() == transcript.text.split()


def test_one_recording_is_printed_in_any_format(call, run, transcripts, capsys):
    path = next(iter(transcripts))
    for kind in SUFFIXES:
        assert call("transcribe", run, path, "--format", kind) == 0
        assert capsys.readouterr().out.strip()


def test_json_lines_keep_their_keys(call, run, transcripts, capsys):
    records = []
    for option in (["--json"], ["--format", "json"]):
        assert call("transcribe", run, *transcripts, *option) == 0
        records.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert records[0] == records[1]
    for record, (path, transcript) in zip(records[0], transcripts.items()):
        old = {"path", "text", "tokens", "frames", "times", "log_probs", "seconds", "truncated", "words", "symbols"}
        assert set(record) >= {*old, "task", "duration", "segments"}
        assert record["path"] == str(path) and record["text"] == transcript.text


def test_a_bad_recording_leaves_its_older_file(call, run, recordings, tmp_path, capsys):
    (tmp_path / "cut.json").write_text("older")
    arguments = [recordings / "00.wav", recordings / "cut.wav", "--format", "json", "--out", tmp_path]
    assert call("transcribe", run, *arguments) == 1
    assert (tmp_path / "cut.json").read_text() == "older" and (tmp_path / "00.json").is_file()
    assert "cut.wav" in capsys.readouterr().err


def test_refusals_come_before_the_model_is_read(call, recordings, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("00.wav", "a.srt"):
        shutil.copy(recordings / "00.wav", other / name)
    (tmp_path / "taken" / "00.srt").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    one, two = recordings / "00.wav", recordings / "01.wav"
    cases = [
        (["--format", "doc", one], "there is no format 'doc'"),
        (["--format", "srt", one, two], "needs a file for each recording; give a folder for them with --out"),
        (
            ["--format", "srt", one, other / "00.wav", "--out", tmp_path / "new"],
            "two outputs would have the name 00.srt",
        ),
        (["--format", "ctm", one, other / "00.wav"], "two outputs would have the name 00.ctm"),
        (["--format", "srt", one, one, "--out", tmp_path / "new"], "is named twice"),
        (["--format", "srt", one, "--out", tmp_path / "file"], "cannot write into the folder"),
        (["--format", "srt", one, "--out", tmp_path / "file" / "below"], "cannot write into the folder"),
        (["--format", "srt", one, "--out", "/proc/none"], "cannot write into the folder /proc/none: "),
        (["--format", "srt", one, "--out", tmp_path / "taken"], "00.srt is a folder"),
        (["--format", "srt", other / "a.srt", "--out", other], "would replace a recording"),
    ]
    for arguments, why in cases:
        assert call("transcribe", tmp_path / "no model", *arguments) == 2
        out, err = capsys.readouterr()
        assert not out and err.count("\n") == 1 and why in err, err
    assert not (tmp_path / "new").exists()


def test_names_that_are_too_long_are_refused(tmp_path):
    with pytest.raises(ValueError, match="too long a name"):
        output_files([tmp_path / ("x" * 248 + ".wav")], "text", tmp_path)
