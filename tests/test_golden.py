"""Numbers that the program gave before it was divided into the present modules. They must never change.

`golden/` holds what that program wrote: prepared data, a model, and a run that was stopped after four of ten steps. So
these tests also show that old data, models and runs still load. Everything goes through the command.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rnnt.cli import app
from rnnt.dataset import Dataset

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
# Wide enough for another processor's rounding, amplified by ten steps; far below the effect of any change of meaning.
CLOSE = {"rtol": 2e-4, "atol": 1e-5}


def run(*arguments):
    app([str(argument) for argument in arguments], standalone_mode=False)


def rows(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def check_rows(out):
    found = rows(out)
    assert [row["step"] for row in found] == [row["step"] for row in EXPECTED["rows"]]
    for got, wanted in zip(found, EXPECTED["rows"]):
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name], value, **CLOSE, err_msg=f"{name} of step {wanted['step']}")


def test_ten_steps_have_the_losses_that_they_had(tmp_path):
    run("train", GOLDEN / "tiny.yaml", "--data", GOLDEN / "data", "--out", tmp_path / "run")
    check_rows(tmp_path / "run")


def test_a_run_of_the_earlier_program_goes_on(tmp_path):
    out = tmp_path / "run"
    shutil.copytree(GOLDEN / "run", out)
    run("train", GOLDEN / "tiny.yaml", "--data", GOLDEN / "data", "--out", out)
    check_rows(out)


def test_an_earlier_run_can_be_told_about(capsys):
    run("info", GOLDEN / "run")
    said = capsys.readouterr().out
    assert "done: 4 steps" in said and "13,554 parameters" in said
    run("info", GOLDEN / "data")
    assert "16 utterances" in capsys.readouterr().out


def test_a_model_of_the_earlier_program_gives_the_same_transcripts(tmp_path, capsys):
    dataset = Dataset(GOLDEN / "data" / "valid")
    paths = [tmp_path / f"{utterance.id}.wav" for utterance in dataset]
    for path, utterance in zip(paths, dataset):
        soundfile.write(path, utterance.input, dataset.sample_rate)
    run("transcribe", GOLDEN / "model", *paths, "--json", "--device", "cpu")
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == len(EXPECTED["transcripts"]) == 5
    for got, wanted in zip(found, EXPECTED["transcripts"]):
        assert {name: got[name] for name in ("text", "tokens", "frames", "times", "seconds")} == {
            name: wanted[name] for name in ("text", "tokens", "frames", "times", "seconds")
        }
        np.testing.assert_allclose(got["log_probs"], wanted["log_probs"], rtol=1e-3, atol=1e-4)


def test_a_model_of_the_earlier_program_has_the_same_scores(tmp_path, capsys):
    run("evaluate", GOLDEN / "model", "--data", GOLDEN / "data" / "valid", "--out", tmp_path, "--device", "cpu")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {name: scores["word"][name] for name in EXPECTED["word"]} == pytest.approx(EXPECTED["word"])
    assert f"loss {EXPECTED['loss']:.3f}" in capsys.readouterr().out
