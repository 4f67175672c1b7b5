"""The recording of the benchmark, and its table."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from rnnt.dataset import Dataset

GOLDEN = Path(__file__).parents[1] / "golden"


def test_a_recording_holds_the_utterances_after_pauses():
    import bench_long

    dataset = Dataset(GOLDEN / "data" / "valid")
    samples, places = bench_long.join(dataset, 20, seed=0)
    again, _ = bench_long.join(dataset, 20, seed=0)
    assert np.array_equal(samples, again) and len(samples) >= 20 * dataset.sample_rate
    end = 0
    for index, start in places:
        spoken = dataset.read(index)[0].input.astype(float)
        assert 0.19 < (start - end) / dataset.sample_rate < 3.01
        end = start + len(spoken)
        assert np.abs(samples[start:end] - spoken).max() < 200
    assert end == len(samples) and {index for index, _ in places} == set(range(len(dataset)))


def test_the_table_has_a_row_for_each_case(capsys):
    import bench_long

    rows = bench_long.measure(str(GOLDEN / "model"), GOLDEN / "data" / "valid", [0.6], 0.3, 0)
    cases = ["0.6 min, one by one", "0.6 min, at the true bounds", "0.6 min, in segments", "0.3 min, at once"]
    assert [row["case"] for row in rows] == cases
    assert all(row["wer"] >= 0 for row in rows) and rows[2]["peak_mib"] > 50 and rows[2]["segments"] > 1
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_the_command_explains_itself():
    program = Path(__file__).parents[2] / "benchmarks" / "bench_long.py"
    out = subprocess.run([sys.executable, program, "--help"], check=True, capture_output=True, text=True).stdout
    assert "--minutes" in out
