"""The conditions that bench_silence measures are what their names say."""

import sys
from pathlib import Path

import numpy as np
import pytest

from rnnt.dataset import write_split
from rnnt.shard import StoredUtterance

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import bench_silence

    return bench_silence


@pytest.fixture
def spoken(utterances):
    return [StoredUtterance(f"u{i}", samples, f"a b{i}") for i, samples in enumerate(utterances)]


def test_conditions_add_silence_and_join(bench, spoken):
    found = dict(bench.conditions(spoken, 16000, seed=0))
    assert found.pop("as they are") == spoken
    for name, changed in found.items():
        if "joined" in name:
            gap = 0 if "no gaps" in name else 8000
            assert [u.text for u in changed] == ["a b0 a b1 a b2 a b3", "a b4 a b5 a b6"]
            assert len(changed[0].input) == sum(len(u.input) for u in spoken[:4]) + 3 * gap
            continue
        length = round(float(name.split()[0]) * 16000)
        for old, new in zip(spoken, changed, strict=True):
            assert new.text == old.text and new.input.dtype == np.int16
            np.testing.assert_array_equal(new.input[length:-length], old.input)
            ends = np.concatenate([new.input[:length], new.input[-length:]]).astype(float)
            assert (ends == 0).all() if "zeros" in name else ends.std() < max(0.7 * old.input.std(), 5000)
    assert len(found) == 13


def test_sounds_without_words_have_the_level_in_their_name(bench):
    for name, samples in bench.sounds_without_words(16000, seed=0):
        assert samples.shape == (80000,) and samples.dtype == np.int16
        if name == "zeros":
            assert not samples.any()
            continue
        level = float(name.split(", ")[1].split()[0])
        assert abs(20 * np.log10(samples.astype(float).std() / 32768) - level) < (4 if level == -90 else 0.5), name


def test_the_tables_are_determined_by_the_seed(bench, spoken, recognizer, tmp_path, monkeypatch, capsys):
    write_split(tmp_path / "split", spoken)
    recognizer.save(tmp_path / "model")
    monkeypatch.setattr(
        sys, "argv", ["bench_silence", str(tmp_path / "model"), str(tmp_path / "split"), "--limit", "3"]
    )
    tables = []
    for _ in range(2):
        bench.main()
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] and tables[0].count("WER") == 14 and "symbols for sounds without words" in tables[0]
