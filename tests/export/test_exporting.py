"""An export as a whole: checked, refused, or written."""

import errno
import json

import numpy as np
import pytest

import rnnt
from rnnt.dataset import Dataset
from rnnt.error_rate import word_error_rate
from rnnt.export import exporting
from rnnt.export.check import check_engine, read_references
from rnnt.export.exporting import export_model, report_lines
from rnnt.export.format import graph_bytes
from rnnt.export.int8 import fit_int8, shared_layers
from rnnt.export.plain_onnx import PLAIN, plain_graphs
from rnnt.export.validation import find_validation


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


def test_int8_keeps_layers_until_the_rate_is_allowed(model, split):
    graphs = plain_graphs(model)
    references, torch_result = read_references(model, split, plain)
    free = fit_int8(PLAIN, model, graphs, references, 2.0, plain)
    assert not free.kept and not free.damages and graph_bytes(free.graphs) < graph_bytes(graphs)
    never = fit_int8(PLAIN, model, graphs, references[:2], -1.0, plain)  # no rate is so low
    assert set(never.kept) == set(shared_layers(graphs))
    assert never.damages[never.kept[0]] == max(never.damages.values()) > 0
    exact = check_engine("all kept", model, PLAIN.engines(model, never.graphs)["onnx"], 0, references[:2], plain)
    assert exact.largest < 1e-2 and exact.differing == 0


def test_layers_of_streams_are_those_of_the_whole(make):
    recognizer = make(
        features={"normalization": "none"},
        model={"encoder": {"hidden": 32, "pre_layers": 2, "post_layers": 1}, "predictor": {"layers": 1}},
    )
    layers = shared_layers(plain_graphs(recognizer))
    shared = [of for of in layers.values() if len(of) == 2]
    assert len(shared) == 3 and all(set(of) == {"encoder.onnx", "encoder-stream.onnx"} for of in shared)


def test_a_graph_that_errs_is_refused_by_name(model, split, tmp_path, monkeypatch):
    import onnx

    right = PLAIN.graphs

    def wrong(recognizer):
        graphs = right(recognizer)
        for weight in graphs["encoder.onnx"].graph.initializer:
            if "LSTM" in weight.name:
                weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
        return graphs

    calls = iter([wrong, right])
    broken = exporting.Format("onnx", lambda r: next(calls)(r), PLAIN.engines, PLAIN.write)
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


@pytest.mark.parametrize(
    "name, holds", [("export.json", "holds another export"), ("a.txt", "holds other files"), (None, "is a file")]
)
def test_a_folder_in_use_is_refused(call, run, tmp_path, capsys, name, holds):
    out = tmp_path / "out"
    if name:
        out.mkdir()
        out = out / name
    out.write_text("mine")
    folder = tmp_path / "out"
    assert call("export", run, "--out", folder) == 2
    assert f"error: {folder} {holds}" in capsys.readouterr().err and out.read_text() == "mine"


def test_mistakes_are_named(call, run, tmp_path, capsys, speller):
    out = ("--out", tmp_path / "out")
    for arguments, message in (
        (("--format", "tflite"), "no format 'tflite'; give one of onnx"),
        (("--int8", "--fp16"), "--int8 and --fp16 do not go together"),
        (("--int8", "--check", tmp_path / "none"), "none"),
    ):
        assert call("export", run, *out, *arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_data_of_another_rate_is_refused(make, split):
    with pytest.raises(ValueError, match="the data is at 16000 Hz, the model at 8000 Hz; prepare it again"):
        read_references(make(features={"sample_rate": 8000, "high_hz": 4000.0}), split, plain)


def test_validation_data_is_found_by_its_fingerprint(run, prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(prepared)
    assert find_validation(run, ["valid"]).fingerprint == Dataset(prepared / "valid").fingerprint
    assert find_validation(run / "best", ["valid"]) is not None
    assert find_validation(run, ["train"]) is None


def test_speed_and_memory_are_measured(model, split):
    references, result = read_references(model, split, plain)
    assert result.speed > 0 and len(references) == len(split)
    assert all(np.isfinite(each.logits).all() and len(each.logits) >= each.length for each in references)
