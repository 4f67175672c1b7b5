"""The examples in docstrings run, and each public name of the package has one."""

import doctest
import importlib
import pkgutil
import shutil
from pathlib import Path

import pytest
import soundfile

import rnnt
from rnnt.dataset import Dataset

GOLDEN = Path(__file__).parent / "golden"
MODULES = [
    module.name for module in pkgutil.walk_packages(rnnt.__path__, "rnnt.") if module.name != "rnnt.loss.kernels"
]


def examples(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:  # an optional package is missing
        pytest.skip(str(error))
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_examples_run(name, speller, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN / "model", "runs/mine/best")
    speller.save(tmp_path / "runs/words")
    make(features={"normalization": "running"}).save(tmp_path / "runs/live")
    dataset = Dataset(GOLDEN / "data" / "valid")
    soundfile.write("recording.wav", dataset[0].input, dataset.sample_rate)
    said = []
    for test in examples(name):
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("name", rnnt.__all__)
def test_each_public_name_has_an_example(name):
    assert ">>> " in getattr(rnnt, name).__doc__
