"""bench_export writes the same network for all programs, and compares an export with torch."""

from pathlib import Path

import bench_export
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


def test_accuracy_has_a_row_for_each_way_to_run(capsys):
    split = GOLDEN / "data" / "valid"
    rows = bench_export.compare_accuracy(str(GOLDEN / "model"), split, split, "onnx")
    assert [(row["program"], row["weights"]) for row in rows][:3] == [
        ("torch", "float32"), ("onnx", "float32"), rows[2]["program"] == "onnx" and ("onnx", "int8")
    ]  # fmt: skip
    assert rows[1]["differing"] == 0 and 0 < rows[1]["logits"] < 1e-3 < rows[2]["logits"]
    assert rows[2]["mb"] < rows[1]["mb"]
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    bench_export.prepare("demo-live", folder)
    return folder


@pytest.mark.parametrize("program", ["onnx float32", "sherpa float32", "onnx-asr float32"])
def test_programs_find_the_same_symbols(prepared, program):
    batch = bench_export.noises(2)
    found = bench_export.opened(program, prepared)(batch)
    expected = bench_export.opened("torch", prepared)(batch)
    if program == "onnx-asr float32":  # other features
        assert found > 10
    else:  # where a unit changes its sign, rounding decides
        assert found == pytest.approx(expected, rel=0.1) and expected > 10


def test_times_are_measured(prepared):
    row = bench_export.time_program("onnx int8", prepared, 2, 3)
    assert row["real_time"] > 0 and row["symbols"] > 4 and row["peak_mib"] > 30
