"""The scripts in examples/ run as their first lines say, on the small model and data of tests/golden."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

import rnnt
from rnnt.dataset import Dataset

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
SCRIPTS = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def run(script, *arguments):
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_arguments_an_example_explains_itself(script):
    result = run(script)
    assert result.returncode == 1 and f"python examples/{script}" in result.stderr
    assert len((ROOT / "examples" / script).read_text().splitlines()) <= 50


def test_transcribe_prints_texts_and_times(tmp_path):
    dataset = Dataset(GOLDEN / "data" / "valid")
    paths = [tmp_path / f"{i}.wav" for i in range(2)]
    for path, utterance in zip(paths, dataset):
        soundfile.write(path, utterance.input, dataset.sample_rate)
    result = run("transcribe.py", GOLDEN / "model", *paths)
    assert result.returncode == 0, result.stderr
    expected = rnnt.load(GOLDEN / "model").transcribe(paths)
    for path, transcript in zip(paths, expected):
        assert f"{path} ({transcript.seconds:.1f} s): {transcript.text}\n" in result.stdout
    assert len(re.findall(r"^ +\d+\.\d\d s  '.'  log P", result.stdout, re.M)) == sum(len(t.tokens) for t in expected)


def test_fine_tuning_lowers_the_loss_and_leaves_a_model(tmp_path):
    result = run("fine_tune.py", GOLDEN / "model", GOLDEN / "data" / "train", tmp_path / "mine")
    assert result.returncode == 0, result.stderr
    losses = [float(value) for value in re.findall(r"loss (\S+)", result.stdout)]
    assert len(losses) == 3 and losses[2] < losses[0]
    before = rnnt.load(GOLDEN / "model").evaluate(Dataset(GOLDEN / "data" / "train"))
    after = rnnt.load(tmp_path / "mine").evaluate(Dataset(GOLDEN / "data" / "train"))
    assert after.loss < before.loss
