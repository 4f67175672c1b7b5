"""install.sh, with a stand-in for Python that notes what pip is asked to install."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "synth, mlperf, triton, export, formats, microphone, vad, serve, cluster, dev"

PYTHON = """#!/bin/sh
case "$*" in
"-m venv .venv")
    mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
"-m pip install"*)
    echo "$*" >> asked
    for number in 1 2 3 4 5 6 7 8 9; do echo "WARNING: $number" >&2; done
    [ ! -e offline ] || { echo "ERROR: no matching distribution" >&2; exit 1; }
    touch .venv/bin/rnnt && chmod +x .venv/bin/rnnt ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("install.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return folder


def install(checkout, *arguments):
    """Return the exit code, standard output and standard error."""
    variables = {"PATH": os.environ["PATH"], "PYTHON": str(checkout.parent / "python")}
    command = ["bash", checkout / "install.sh", *arguments]
    done = subprocess.run(command, env=variables, cwd="/", capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def asked(checkout):
    """Return what pip was asked to install, and forget it."""
    file = checkout / "asked"
    found = re.findall(r"-e (\S+)", file.read_text()) if file.exists() else []
    file.unlink(missing_ok=True)
    return found


def test_installs_what_is_missing_and_keeps_pips_output_in_a_file(checkout):
    code, out, err = install(checkout)
    assert (code, err) == (0, "") and len(out.splitlines()) == 2 and out.endswith("installed: .venv/bin/rnnt\n")
    assert "WARNING: 9" in (checkout / ".venv" / "install.log").read_text()
    assert asked(checkout) == [".[synth]"]
    assert install(checkout) == install(checkout, "synth") == (0, "up to date: .venv (synth)\n", "")
    assert asked(checkout) == []
    assert install(checkout, "triton,dev")[0] == 0
    assert asked(checkout) == [".[triton,dev]"]
    assert install(checkout, "dev,synth")[1] == "up to date: .venv (synth,triton,dev)\n"
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert install(checkout)[0] == 0 and asked(checkout) == [".[synth]"]


def test_a_failure_ends_with_one_line_and_can_be_repeated(checkout):
    (checkout / "offline").touch()
    code, out, err = install(checkout)
    *pip, last = err.splitlines()
    assert code == 2 and "installed" not in out
    assert pip == [*(f"WARNING: {number}" for number in (6, 7, 8, 9)), "ERROR: no matching distribution"]
    assert last == f"error: pip could not install the package; its whole output is in {checkout}/.venv/install.log"
    (checkout / "offline").unlink()
    assert install(checkout)[0] == 0 and asked(checkout) == [".[synth]", ".[synth]"]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_installs_nothing(checkout, option):
    code, out, err = install(checkout, option)
    assert (code, err) == (0, "") and out.startswith("usage: bash install.sh [EXTRAS]")
    assert out.endswith(f"\nextras: {EXTRAS}\n")
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["synht"], f"there is no extra 'synht'; there are {EXTRAS}"),
        (["synth,*"], f"there is no extra '*'; there are {EXTRAS}"),
        (["--upgrade"], f"there is no extra '--upgrade'; there are {EXTRAS}"),
        (["synth", "dev"], "too many arguments; give the extras as one list, such as synth,dev"),
    ],
)
def test_mistakes_get_one_line_and_install_nothing(checkout, arguments, complaint):
    assert install(checkout, *arguments) == (2, "", f"error: {complaint}\n")
    assert not (checkout / ".venv").exists()


def test_without_a_usable_python(checkout):
    (checkout.parent / "python").unlink()
    code, _, err = install(checkout)
    assert code == 2 and re.fullmatch(r"error: \S+ is not Python 3.10 or newer; name one with PYTHON=...\n", err)
