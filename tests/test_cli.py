"""The command line: output, files, exit codes, and messages about mistakes."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnt.info import describe
from rnnt.settings import load_config, presets

VERBS = {
    "prepare",
    "tokenizer",
    "train",
    "evaluate",
    "transcribe",
    "lm",
    "align",
    "convert",
    "export",
    "info",
    "settings",
    "demo",
    "live",
    "serve",
}
ROOT = Path(__file__).resolve().parents[1]


def test_prepare_counts_and_lists_what_it_skips(call, recordings, tmp_path, capsys):
    assert call("prepare", "folder", recordings, "--out", tmp_path, "split=all") == 0
    assert re.search(r"40 utterances, 0\.\d minutes, 2 skipped", printed := capsys.readouterr().out)
    assert "why: " in printed
    listed = (tmp_path / "all" / "skipped.tsv").read_text()
    assert "silent" in listed and "cut" in listed
    assert call("prepare", "folder", recordings, "--out", tmp_path, "split=all") == 0
    assert "already prepared" in capsys.readouterr().out


def test_train_writes_a_run_that_info_describes_and_resumes(call, run, small, prepared, capsys):
    assert {"config.yaml", "tokenizer.json", "metrics.jsonl", "checkpoints", "best"} <= {p.name for p in run.iterdir()}
    assert call("info", run) == 0
    text = capsys.readouterr().out
    assert "best validation WER" in text and "characters" in text
    steps = int(re.search(r"done: (\d+) steps", text)[1])
    assert call("train", "small", *small, "--data", prepared, "--out", run, "train.epochs=3") == 0
    assert f"done: {steps * 3 // 2} steps" in describe(run)
    assert call("train", "small", *small, "--data", prepared, "--out", run, "train.epochs=3", "optim.lr=0.1") == 2
    assert "optim.lr" in capsys.readouterr().err


def test_info_of_a_run_whose_last_step_was_skipped(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    rows = [
        {"step": 1, "epoch": 0.0, "loss": 3.14159},
        {"step": 2, "epoch": 0.5, "loss": None, "skipped": "the loss of a is not finite"},
    ]
    (tmp_path / "metrics.jsonl").write_text(json.dumps(rows[0]) + "\n{cut")
    with pytest.raises(ValueError, match="does not hold settings"):
        describe(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: 1")
    assert "done: 1 steps, epoch 0.00, loss 3.142\n" in describe(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = describe(tmp_path)
    assert "done: 2 steps, epoch 0.50, loss not finite\n  1 steps skipped" in text and "none yet" in text


PRESETS = ", ".join(presets())
MISTAKES = [
    (
        "prepare nothing . --out x",
        "unknown corpus 'nothing'; there are librispeech, digits, synthetic, folder, lhotse, mlperf-json, "
        "timit, an4, lexicon",
    ),
    (
        "prepare librispeech . --out x",
        ".: expected LibriSpeech's layout, <part>/<speaker>/<chapter>/*.flac and *.trans.txt, as in "
        "dev-clean/84/121123/84-121123-0000.flac",
    ),
    ("prepare folder absent --out x", "absent: no such file or folder"),
    (
        "prepare digits . colour=red --out x",
        "corpus 'digits' has no option 'colour'; it has leave_out, seed, train_utterances, test_utterances",
    ),
    ("prepare digits . seed=x --out x", "option 'seed' of corpus 'digits' must be int, not 'x'"),
    ("prepare digits . colour --out x", "'colour' is no option; write it as key=value, such as seed=1"),
    ("prepare digits . seed=[1 --out x", "'seed=[1' is not readable as YAML; give seed a number or a word"),
    (
        "prepare digits . --out x",
        ".: expected recordings named {digit}_{speaker}_{index}.wav here or in recordings/",
    ),
    ("train nothing --data x --out y", f"no preset 'nothing'; there are {PRESETS}, or give a .yaml file"),
    ("train absent.yaml --data x --out y", "no configuration file absent.yaml"),
    (
        "train digits optim.lrr=1 --data x --out y",
        "'optim.lrr=1': unknown key optim.lrr; did you mean optim.lr?",
    ),
    (
        "train digits optim.lr=fast --data x --out y",
        "'optim.lr=fast': optim.lr: Value 'fast' of type 'str' could not be converted to Float",
    ),
    (
        "train digits optim.lr=-1 --data x --out y",
        "'optim.lr=-1': optim.lr is -1.0; it must be finite and above 0",
    ),
    (
        "train digits --data absent --out y",
        "no split train in absent; it holds no prepared split; run `rnnt prepare` first",
    ),
    ("evaluate absent --data x", "absent does not exist; give a model's folder or a run's"),
    ("transcribe absent x.wav", "absent does not exist; give a model's folder or a run's"),
    ("info absent", f"absent does not exist, and no preset has this name; there are {PRESETS}"),
    ("info .", ". is no run, no model and no prepared data; `rnnt prepare` and `rnnt train` make them"),
    ("info digits --verify", "digits is no prepared data; only the shards of splits have checksums to verify"),
    ("tokenizer absent --out x", "{here}/absent: no such dataset; `rnnt prepare` makes one"),
    ("settings optm", "unknown key optm; did you mean optim or optim.lr or optim.eps?"),
    ("convert a.pt --config b.yaml --out c", "no configuration file b.yaml"),
]


@pytest.mark.parametrize(("command", "message"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_mistakes_get_one_line_and_exit_code_2(call, command, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(*command.split()) == 2
    assert capsys.readouterr().err == f"error: {message}\n".replace("{here}", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_reports_mistakes_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rnnt.cli", "info", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "is no run, no model and no prepared data" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device; make room and run"),
        (OSError(errno.ENOSPC, "the disk of x is full; go on"), "error: the disk of x is full; go on\n"),
        (FileExistsError(errno.EEXIST, "File exists", "out"), "error: out: File exists\n"),
        (OSError("cannot save\nit"), "error: cannot save it\n"),
    ],
)
def test_what_the_system_refuses_is_said_in_one_line(call, error, says, monkeypatch, capsys):
    def refuse(path):
        raise error

    monkeypatch.setattr("rnnt.info.describe", refuse)
    assert call("info", ".") == 2
    err = capsys.readouterr().err
    assert says in err and len(err.splitlines()) == 1 and "Errno" not in err


def test_every_verb_has_help_with_an_example(call, capsys):
    for verb in VERBS:
        assert call(verb, "--help") == 0
        text = capsys.readouterr().out
        assert f"Example: rnnt {verb}" in text and "[[" not in text


@pytest.mark.parametrize("preset", presets())
def test_presets_load_and_are_described(preset):
    load_config(preset)
    assert f"`{preset}`" in (ROOT / "docs" / "training.md").read_text()


def test_commands_of_the_readme_exist():
    readme = (ROOT / "README.md").read_text()
    for script in set(re.findall(r"bash (\S+\.sh)", readme)):
        path = ROOT / script
        assert path.is_file() and subprocess.run(["bash", "-n", path], check=False).returncode == 0
    verbs = set(re.findall(r"^    rnnt (\w+)", readme, re.MULTILINE))
    assert verbs <= VERBS
    assert len(verbs) >= 5
    for page in re.findall(r"\]\(((?!http)[^)]+)\)", readme):
        assert (ROOT / page).exists(), page


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of the scripts with a stand-in for the installed command, which records its arguments."""
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    (folder / "install.sh").touch()
    command = folder / ".venv" / "bin" / "rnnt"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    command.chmod(0o755)
    (tmp_path / "the data" / "prepared").mkdir(parents=True)
    (tmp_path / "the data" / "prepared" / "tokenizer.model").touch()
    return folder


def handed_on(script: Path, *arguments, **variables) -> list[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | variables
    done = subprocess.run(
        ["bash", script, *arguments], cwd=script.parents[2], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_training_script_hands_on_the_references_variables(checkout, tmp_path):
    words = handed_on(
        checkout / "scripts" / "train_rnnt_1x1.sh", tmp_path / "run", tmp_path / "the data", "train.steps=3",
        GLOBAL_BATCH_SIZE="96", LEARNING_RATE="0.002", AMP="true", EMA="0.99",
    )  # fmt: skip
    assert words[:2] == ["train", "librispeech-mlperf"] and words[-1] == "train.steps=3"
    assert f"tokenizer.path={tmp_path}/the data/prepared/tokenizer.model" in words
    settings = {"train.batch=96", "optim.lr=0.002", "precision=bfloat16", "train.ema=0.99"}
    assert settings <= set(words)
    config = load_config("librispeech-mlperf", [word for word in words[2:] if "=" in word])
    assert (config.train.batch, config.optim.lr, config.precision, config.train.steps) == (96, 0.002, "bfloat16", 3)


@pytest.mark.parametrize("count", [1, 4, 8])
def test_training_scripts_differ_in_their_processes(checkout, tmp_path, count):
    script = checkout / "scripts" / f"train_rnnt_1x{count}.sh"
    words = handed_on(script, "a run", "the data", "train.steps=3", GRAD_ACCUMULATION_STEPS="2")
    assert words[4:8] == ["--out", f"{tmp_path}/a run", "--processes", str(count)]
    assert {"train.accumulation=2", "train.steps=3"} <= set(words)
    usage = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert usage.returncode == 2 and f"train_rnnt_1x{count}.sh OUTPUT_DIR" in usage.stderr


def test_scripts_take_folders_from_where_they_are_called(checkout, tmp_path):
    scripts = checkout / "scripts"
    words = handed_on(scripts / "train_rnnt_1x1.sh", "a run", "the data")
    assert words[2:6] == ["--data", f"{tmp_path}/the data/prepared", "--out", f"{tmp_path}/a run"]
    words = handed_on(scripts / "preprocess_librispeech.sh", "the data", CDPATH=str(tmp_path))
    assert words[:5] == ["prepare", "librispeech", f"{tmp_path}/the data", "--out", f"{tmp_path}/the data/prepared"]
    assert handed_on(scripts / "demo.sh", "a demo") == ["demo", "--out", f"{tmp_path}/a demo"]
    assert handed_on(scripts / "demo.sh") == ["demo", "--out", f"{checkout}/runs/demo"]


def test_the_command_starts_without_what_only_some_verbs_need():
    """Numpy and SentencePiece tripled the time of `rnnt --help`, and torch takes seconds."""
    heavy = "torch", "numpy", "sentencepiece", "omegaconf"
    code = f"import sys, rnnt.cli; print([x for x in {heavy} if x in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
