"""Bad files of each kind: `prepare` lists them as skipped, `transcribe` prints a line about each."""

import csv
import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rnnt import cli
from rnnt.dataset import Dataset

RATE = 16000
GOOD = ("eight-bit", "flac", "hires", "ogg", "plain", "stereo")
BAD = {  # name: what is said of it
    "cut-flac": "is truncated",
    "cut-wav": "is truncated",
    "empty": "is empty (0 bytes)",
    "text": "is not audio that can be read",
    "zero": "holds no samples",
}
UNPAIRED = {
    "blank": "the text is empty",
    "latin-1": "is not UTF-8 text",
    "no-audio": "has no audio beside it",
    "no-text": "has no no-text.txt beside it",
    "short": "the minimum is 0.1 s",
}

SETTINGS = (
    "data.train=[all]", "data.valid=[]", "tokenizer.kind=characters", "model.encoder.hidden=8",
    "model.predictor.hidden=8", "model.predictor.embedding=8", "model.joint.hidden=8",
)  # fmt: skip


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


def tone(rate: int) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 500 * np.arange(rate) / rate)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("my recordings")
    soundfile.write(folder / "plain.wav", tone(RATE), RATE)
    soundfile.write(folder / "flac.flac", tone(RATE), RATE)
    soundfile.write(folder / "ogg.ogg", tone(RATE), RATE)
    soundfile.write(folder / "eight-bit.wav", tone(8000), 8000, subtype="PCM_U8")
    soundfile.write(folder / "stereo.wav", np.stack([tone(44100)] * 2, axis=1), 44100)
    soundfile.write(folder / "hires.wav", tone(96000), 96000, subtype="PCM_24")
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    for name in ("cut-wav.wav", "cut-flac.flac"):
        soundfile.write(folder / name, noise, RATE)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is no audio\n" * 100)
    soundfile.write(folder / "zero.wav", np.zeros(0), RATE)
    soundfile.write(folder / "short.wav", tone(RATE)[:100], RATE)
    for path in list(folder.iterdir()):
        path.with_suffix(".txt").write_text("a tone")
    soundfile.write(folder / "no-text.wav", tone(RATE), RATE)
    (folder / "no-audio.txt").write_text("a tone")
    for name, text in (("blank", b" \n"), ("latin-1", "ä".encode("latin-1"))):
        soundfile.write(folder / f"{name}.wav", tone(RATE), RATE)
        (folder / f"{name}.txt").write_bytes(text)
    return folder


@pytest.fixture(scope="module")
def data(recordings, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data")
    done = rnnt("prepare", "folder", recordings, "--out", out, "split=all", "--workers", "1")
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert f"{len(GOOD)} utterances" in done.stdout and f"{len(BAD | UNPAIRED)} skipped" in done.stdout
    assert f"why: {out / 'all' / 'skipped.tsv'}" in done.stdout
    return out


def test_prepare_keeps_what_it_can_and_lists_the_rest(data):
    dataset = Dataset(data / "all")
    assert sorted(dataset.id(i) for i in range(len(dataset))) == sorted(GOOD)
    for recording in dataset:  # of every rate, width and number of channels: a second of the same tone
        assert abs(len(recording.input) - RATE) <= 1
        spectrum = np.abs(np.fft.rfft(recording.input[:RATE]))
        assert spectrum.argmax() == 500 and 7000 < np.abs(recording.input[1000:-1000].astype(int)).max() < 12000
    with open(data / "all" / "skipped.tsv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    assert {name for name, _ in rows} == set(BAD | UNPAIRED)
    for name, reason in rows:
        assert (BAD | UNPAIRED)[name] in reason


def test_what_is_skipped_does_not_stop_training_and_transcribing(data, recordings, tmp_path):
    run = tmp_path / "run"
    done = rnnt("train", "digits", "--data", data, "--out", run, *SETTINGS, "train.epochs=1")
    assert done.returncode == 0, done.stderr

    done = rnnt("transcribe", run, recordings, "--json")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    rows = {Path(row["path"]).stem: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(GOOD) <= {name for name, row in rows.items() if "text" in row}
    assert {name for name, row in rows.items() if "error" in row} == set(BAD)
    lines = done.stderr.splitlines()
    for name, reason in BAD.items():
        assert reason in rows[name]["error"] and f"error: {rows[name]['error']}" in lines
    assert lines[-1] == f"{len(BAD)} of {len(rows)} files could not be transcribed" and len(lines) == len(BAD) + 1

    model = run / "best" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:1000])
    done = rnnt("transcribe", run, recordings / "plain.wav")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "model.safetensors is damaged or of another model" in done.stderr


def test_only_the_truncated_checkpoint_is_lost(data, tmp_path):
    command = ["train", "digits", "--data", data, "--out", tmp_path / "run", *SETTINGS]
    assert rnnt(*command, "train.epochs=2").returncode == 0
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    (newest / "state.pt").write_bytes((newest / "state.pt").read_bytes()[:1000])
    done = rnnt(*command, "train.epochs=2")
    assert done.returncode == 0 and f"{newest} is damaged (its checksum does not fit); passed over" in done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
