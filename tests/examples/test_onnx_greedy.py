"""examples/onnx_greedy.py prints what `rnnt transcribe` prints, in a Python that cannot import torch."""

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch

ROOT = Path(__file__).parents[2]
WITHOUT_TORCH = """
import runpy, sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "rnnt", "sentencepiece", "onnx"):
            raise ImportError(f"{name} must not be imported")
sys.meta_path.insert(0, Forbid())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def without_torch(*arguments):
    command = [sys.executable, "-c", WITHOUT_TORCH, str(ROOT / "examples" / "onnx_greedy.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def exported(make, call, speech, tmp_path_factory):
    """A model that streams, its export, and recordings."""
    folder = tmp_path_factory.mktemp("example")
    recognizer = make(features={"normalization": "running", "window": 400})
    with torch.no_grad():
        recognizer.features.mean.fill_(-12.0)
        recognizer.features.std.fill_(3.0)
    recognizer.save(folder / "model")
    assert call("export", folder / "model", "--out", folder / "export") == 0
    paths = [folder / f"{i}.wav" for i in range(4)]
    for path, seconds in zip(paths, (1.7, 0.01, 0.96, 3.0)):
        soundfile.write(path, speech(seconds, len(path.name) + round(100 * seconds)), 16000)
    return folder, paths


@pytest.mark.parametrize("options", [(), ("--stream",)])
def test_prints_what_transcribe_prints(exported, call, capsys, options):
    folder, paths = exported
    assert call("transcribe", folder / "model", *paths) == 0
    expected = capsys.readouterr().out
    assert len(expected.split()) > 8
    result = without_torch(*options, folder / "export", *paths)
    assert result.returncode == 0, result.stderr
    assert result.stdout == expected


def test_another_rate_is_refused(exported, tmp_path):
    soundfile.write(tmp_path / "slow.wav", [0.0] * 800, 8000)
    result = without_torch(exported[0] / "export", tmp_path / "slow.wav")
    assert result.returncode == 1 and "is at 8000 Hz; convert it to 16000 Hz" in result.stderr
