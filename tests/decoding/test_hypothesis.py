"""A hypothesis: a plain value."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import rnnt.decoding.hypothesis
from rnnt.decoding import Hypothesis


def test_a_hypothesis_is_a_value():
    hypothesis = Hypothesis([3, 1], [0, 4], [-0.5, -0.25], -1.0)
    assert not hypothesis.truncated
    assert hypothesis == Hypothesis([3, 1], [0, 4], [-0.5, -0.25], -1.0, False)
    assert hypothesis != dataclasses.replace(hypothesis, truncated=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        hypothesis.score = 0.0


def test_the_file_needs_no_torch():
    """Results can then be handled on machines that have no torch."""
    program = "import runpy, sys; runpy.run_path(sys.argv[1]); sys.exit('torch' in sys.modules)"
    path = Path(rnnt.decoding.hypothesis.__file__)
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 0
