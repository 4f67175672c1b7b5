"""An export as a whole: checked, refused, or written."""

import errno
import json

import pytest

import rnnt
from rnnt.dataset import Dataset
from rnnt.error_rate import word_error_rate
from rnnt.export import exporting
from rnnt.export.exporting import export_model, report_lines
from rnnt.export.plain_onnx import PLAIN


def plain(items, total, name):
    return items


@pytest.fixture(scope="module")
def model(run):
    return rnnt.load(run)


@pytest.fixture(scope="module")
def split(prepared):
    return Dataset(prepared / "valid")


def test_float32_is_checked_and_written(model, split, tmp_path):
    report = export_model(model, "onnx", tmp_path / "new" / "out", dataset=split)
    torch_result, *others = report.results
    pairs = model.evaluate(split).pairs
    assert torch_result.rate == word_error_rate(pairs).rate
    for each in others:
        assert each.rate == torch_result.rate and each.differing == 0 and each.largest < 1e-2
    written = json.loads((tmp_path / "new" / "out" / "export.json").read_text())
    assert [each["name"] for each in written["results"]] == [each.name for each in report.results]
    assert written["check"] == [str(split.folders[0])]
    lines = report_lines(report, model)
    assert "WER" in lines[0] and lines[1].startswith("torch") and lines[2].startswith("onnx")


@pytest.mark.parametrize("kind", exporting.FORMATS)
def test_a_token_and_duration_model_is_refused(make, kind, tmp_path):
    model = make(model={"joint": {"durations": [0, 1, 2]}})
    with pytest.raises(
        ValueError, match="this is a token-and-duration model, which cannot be exported; export a model"
    ):
        export_model(model, kind, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_graph_that_errs_is_refused_by_name(model, split, tmp_path, monkeypatch):
    import onnx

    right = PLAIN.graphs

    def wrong(recognizer):
        graphs = right(recognizer)
        for weight in graphs["encoder.onnx"].graph.initializer:
            if "LSTM" in weight.name:
                weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
        return graphs

    made = []

    def first_wrong(recognizer):
        made.append(wrong(recognizer) if not made else right(recognizer))
        return made[-1]

    broken = exporting.Format("onnx", first_wrong, PLAIN.engines, PLAIN.write)
    monkeypatch.setitem(exporting.FORMATS, "onnx", broken)
    with pytest.raises(ValueError, match=r"apart; the change comes from encoder\.onnx .*nothing was written"):
        export_model(model, "onnx", tmp_path / "out", dataset=split, tolerance=-0.0)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(model, tmp_path, monkeypatch):
    def full(*of):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "write_json", full)
    with pytest.raises(OSError, match=r"cannot write the export .*out: the disk is full; free space or give --out"):
        export_model(model, "onnx", tmp_path / "out")
    assert not list(tmp_path.iterdir())
