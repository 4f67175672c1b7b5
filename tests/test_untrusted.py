"""The command with hostile models, data and files: no escape sequence of theirs reaches the terminal or ends a run."""

import io
import json
import os
import subprocess
import sys
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import soundfile

from rnnt import cli
from rnnt.dataset import write_split
from rnnt.recognizer import Recognizer
from rnnt.shard import StoredUtterance
from rnnt.tokenizer import Symbols

RATE = 16000
# Sets the terminal's title, clears the screen, hides what follows, ends the line and reverses it.
VALID = "\x1b]0;owned\x07\x1b[2J\x1b[8m\r\u202e\u2066\u2028\x85\x9b31m\x7f"
EVIL = f"{VALID}\udcff"  # is no UTF-8 either
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x1b[8m\r\u202e\u2066\u2028\x85\x9b31m\x7f\udcff"


def rnnt(*arguments) -> subprocess.CompletedProcess:
    """Run the command, in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rnnt", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def assert_harmless(text: str, layout: str = "\n\t") -> None:
    """The output has no control characters except tabs and line feeds."""
    obeyed = {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in "\u202e\u2066"}
    assert obeyed <= set(layout)


@pytest.fixture(scope="module")
def evil(recognizer, tmp_path_factory) -> Path:
    """A model whose words are full of control characters and escape sequences."""
    symbols = [f"{word}{EVIL}" for word in recognizer.tokenizer.symbols]
    other = Recognizer(recognizer.config, Symbols("words", symbols))
    other.load_state_dict(recognizer.state_dict())
    folder = tmp_path_factory.mktemp("models") / "evil"
    other.eval().save(folder)
    return folder


@pytest.fixture(scope="module")
def model(recognizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "good"
    recognizer.save(folder)
    return folder


def split_of(folder: Path, utterances, texts, name="u", speaker="s") -> Path:
    write_split(
        folder,
        [StoredUtterance(f"{name}{i}", samples, text, f"{speaker}{i % 2}")
         for i, (samples, text) in enumerate(zip(utterances, texts))],
        RATE,
    )  # fmt: skip
    return folder


@pytest.fixture
def recording(tmp_path, utterances) -> Path:
    soundfile.write(tmp_path / f"{VALID}.wav", utterances[2], RATE)
    return tmp_path / f"{VALID}.wav"


def test_texts_and_paths_are_shown(evil, recording):
    done = rnnt("transcribe", evil, recording)
    assert (done.returncode, done.stderr) == (0, "")
    assert_harmless(done.stdout)
    (line,) = done.stdout.splitlines()
    path, text = line.split("\t")
    assert path == f"{recording.parent}/{SHOWN[:-6]}.wav" and len(text.split()) > 2
    assert {word[1:] for word in text.split(" ")} == {SHOWN}


def test_json_is_shown_and_comes_back_whole(evil, recording):
    done = rnnt("transcribe", evil, recording, recording.with_name(f"gone{EVIL}"), "--json")
    assert done.returncode == 1
    assert_harmless(done.stdout + done.stderr, "\n")
    row, gone = map(json.loads, done.stdout.splitlines())
    assert row["path"] == str(recording) and {word[1:] for word in row["text"].split(" ")} == {EVIL}
    assert gone["path"].endswith(f"gone{EVIL}") and gone["error"].endswith("no such file")
    assert f"gone{SHOWN}: no such file" in done.stderr


def test_json_keeps_letters_as_they_are(model, tmp_path, utterances):
    soundfile.write(tmp_path / "größe 好 🎉.wav", utterances[2], RATE)
    done = rnnt("transcribe", model, tmp_path / "größe 好 🎉.wav", "--json")
    assert "größe 好 🎉.wav" in done.stdout


@pytest.mark.parametrize(("encoding", "options"), [("ascii", []), ("cp1252", []), ("utf-8", []), ("ascii", ["--json"])])
def test_a_terminal_of_any_encoding_gets_the_text(model, tmp_path, utterances, encoding, options):
    path = tmp_path / "größe 好.wav"
    soundfile.write(path, utterances[2], RATE)
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "rnnt.cli", "transcribe", model, path, *options],
        capture_output=True, check=True, env=environment, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    text = done.stdout.decode(encoding)
    assert done.stderr == b""
    if options:
        assert json.loads(text)["path"] == str(path)
    else:
        name = "größe 好.wav".encode(encoding, "backslashreplace").decode(encoding)
        assert text.startswith(f"{tmp_path}/{name}\t")


def test_error_lines_are_shown(evil, tmp_path):
    for arguments in (
        ["transcribe", tmp_path / f"gone{EVIL}", "x.wav"],
        ["info", tmp_path / f"gone{EVIL}"],
        ["train", f"gone{EVIL}", "--data", "x", "--out", "y"],
        ["train", "digits", f"optim.lr=a{EVIL}", "--data", "x", "--out", "y"],
        ["train", "digits", f"lr{EVIL}=3", "--data", "x", "--out", "y"],
        ["train", "digits", "--data", tmp_path / f"gone{EVIL}", "--out", "y"],
        ["prepare", f"gone{EVIL}", ".", "--out", "x"],
        ["prepare", "folder", tmp_path / f"gone{EVIL}", "--out", "x"],
        ["settings", f"gone{EVIL}"],
        ["convert", tmp_path / f"a{EVIL}", "--config", tmp_path / f"b{EVIL}", "--out", "x"],
    ):
        done = rnnt(*arguments)
        assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("error: "), arguments
        assert_harmless(done.stderr, "\n")
        assert len(done.stderr.splitlines()) == 1


def test_evaluation_shows_ids_and_speakers(evil, tmp_path, utterances):
    data = split_of(tmp_path / "test", utterances, ["a b", "x"] * 3, name=VALID, speaker=VALID)
    done = rnnt("evaluate", evil, "--data", data, "--out", tmp_path / f"out{EVIL}")
    assert done.returncode == 0
    assert_harmless(done.stdout, "\n")
    assert "WER by speaker: " in done.stdout and SHOWN[:-6] in done.stdout and f"out{SHOWN}/report.html" in done.stdout
    assert "no loss, 6 utterances, 0 skipped\n" in done.stdout
    assert "\n6 of 6 utterances are not in the loss (first " in done.stdout


def test_what_is_not_in_the_loss_is_counted(model, tmp_path, utterances):
    for texts, loss, without in (
        (["a b", "c", "a", "b"], "loss ", 0),
        (["a b", "zz", "a", "b yy"], "loss ", 2),
        (["zz", "yy a", "zz", "xx"], "no loss, ", 4),
        (["", "zz", "", "xx"], "no loss, ", 2),
        (["", "", "", ""], "no loss, ", 0),
    ):
        data = split_of(tmp_path / "_".join(texts).replace(" ", "-") / "test", utterances, texts)
        done = rnnt("evaluate", model, "--data", data, "--out", tmp_path / "out")
        assert done.returncode == 0 and "nan" not in done.stdout
        (line,) = [line for line in done.stdout.splitlines() if "utterances, 0 skipped" in line]
        assert line.startswith(loss)
        told = [line for line in done.stdout.splitlines() if "are not in the loss" in line]
        assert len(told) == bool(without) and all(line.startswith(f"{without} of 4 ") for line in told)
        assert all("(first u" in line and "unknown to the tokenizer: '" in line for line in told)


def test_scores_are_printed_if_the_report_cannot_be_written(model, tmp_path, utterances):
    data = split_of(tmp_path / "test", utterances, ["a b", "c", "a", "b"])
    (tmp_path / "file").touch()

    def scores(done):  # without the time of decoding, which differs, and the report's place
        return [line for line in done.stdout.splitlines() if not line.startswith(("greedy: decoding", "report: "))]

    expected = scores(rnnt("evaluate", model, "--data", data, "--out", tmp_path / "out"))
    for out in ("/proc/report", tmp_path / "file", tmp_path / "file" / "report"):
        done = rnnt("evaluate", model, "--data", data, "--out", out)
        assert done.returncode == 2 and scores(done) == expected
        line = done.stderr.splitlines()[-1]  # after those that show the progress
        assert line.startswith(f"error: cannot write the report in {out}: ")
        assert line.endswith("; give --out another folder") and "Traceback" not in done.stderr


def test_scores_are_printed_if_the_folder_of_the_model_is_read_only(model, tmp_path, utterances, monkeypatch):
    data = split_of(tmp_path / "test", utterances, ["a b", "c", "a", "b"])

    def refuse(path, *_, **__):
        raise OSError(30, os.strerror(30), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    done = rnnt("evaluate", model, "--data", data)
    assert done.returncode == 2 and "WER " in done.stdout and "report: " not in done.stdout
    assert done.stderr.splitlines()[-1] == (
        f"error: cannot write the report in {model.parent}: Read-only file system; give --out another folder"
    )


def test_models_in_one_folder_and_splits_of_one_name_have_reports_of_their_own(recognizer, tmp_path, utterances):
    one = split_of(tmp_path / "one" / "test", utterances, ["a b", "c", "a", "b"])
    two = split_of(tmp_path / "two" / "test", utterances, ["c", "c", "c", "c"])
    models = [tmp_path / "models" / name for name in ("a", "b")]
    for folder in (*models, tmp_path / "run" / "best"):
        recognizer.save(folder)
    reports = set()
    for folder in (*models, tmp_path / "run"):
        for data in (one, two):
            done = rnnt("evaluate", folder, "--data", data)
            assert done.returncode == 0
            reports.add(done.stdout.splitlines()[-1])
    assert len(reports) == 6 and f"report: {tmp_path}/run/evaluation-test/report.html" in reports
    scores = [json.loads(Path(line[8:]).with_name("scores.json").read_text())["word"]["rate"] for line in reports]
    assert len(set(scores)) == 2
