"""The verb `export`."""

import json
import shutil

import pytest


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


def test_prints_a_table_and_checks_on_the_validation_data_by_itself(call, run, prepared, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(run, tmp_path / "far" / "from" / "data" / "run")
    assert call("export", run, "--fp16", "--out", tmp_path / "out") == 0
    assert "not checked: no validation data was found; give it with --check" in capsys.readouterr().out
    (tmp_path / "data").symlink_to(prepared)
    assert call("export", run, "--fp16", "--tolerance", "100", "--out", tmp_path / "checked") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "WER" and [line.split()[0] for line in lines[1:4]] == ["torch", "onnx", "onnx"]
    written = json.loads((tmp_path / "checked" / "export.json").read_text())
    assert written["weights"] == "float16" and len(written["results"]) == 3
