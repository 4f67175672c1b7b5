"""Lets these tests import the benchmarks, which are scripts in a folder and not a package."""

import argparse
import mmap
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture
def shapes_csv(tmp_path, monkeypatch):
    """A function that writes a file of LibriSpeech's lengths with these rows, and lets the benchmarks read it."""

    def write(*rows):
        path = tmp_path / "shapes.csv"
        path.write_text("seconds,tokens\n" + "".join(f"{seconds},{tokens}\n" for seconds, tokens in rows))
        for module in ("loss_inputs", "bench_input"):
            monkeypatch.setattr(f"{module}.SHAPES_CSV", path)

    return write


@pytest.fixture
def loss_options():
    """Options of bench_loss for tests: three timed calls, on one thread of a CPU."""
    return argparse.Namespace(device="cpu", threads=1, seed=0, repeats=3, seconds=0.0)


@pytest.fixture(scope="module")
def talkative(make):
    """A random model of plain features that emits more symbols than `make` alone gives it."""
    return make(blank=0.0, features={"normalization": "none"})


@pytest.fixture
def pages():
    """A function that takes so many MiB of resident memory straight from Linux, given back by `close`.

    malloc may put a block where earlier tests have freed memory, and may keep it when the block is freed.
    """
    return lambda mib: mmap.mmap(-1, mib * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
