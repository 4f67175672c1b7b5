"""The option `--cluster`: what it does not go with, and a missing Ray. Jobs are tested in tests/cluster."""

import subprocess
import sys

import pytest

from rnnt.cluster import session


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--cluster"], "--cluster writes a folder of shards; name it with --out DIR"),
        (["--cluster", "--out", "o", "--format", "srt"], "--cluster writes Parquet, or JSON lines with --format json"),
        (["--cluster", "--text"], "--cluster is for recordings; leave it out with --text"),
    ],
    ids=["out", "format", "text"],
)
def test_options_that_do_not_go_together(call, tmp_path, monkeypatch, capsys, options, complaint):
    monkeypatch.setattr(session, "find_spec", lambda name: True)
    monkeypatch.chdir(tmp_path)
    assert call("transcribe", "model", "a.wav", *options) == 2
    err = capsys.readouterr().err
    assert complaint in err and len(err.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_without_ray(call, monkeypatch, capsys):
    monkeypatch.setattr(session, "find_spec", lambda name: None)
    assert call("transcribe", "model", "a.wav", "--cluster", "--out", "o") == 2
    assert capsys.readouterr().err == "error: --cluster needs the package ray: pip install 'rnnt[cluster]'\n"


def test_the_command_line_loads_no_ray():
    program = (
        "import sys, rnnt.cli; print([name for name in ('ray', 'torch', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"
