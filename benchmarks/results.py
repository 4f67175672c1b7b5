"""Files of results, `benchmarks/results/NAME.csv`: each row has the measured values, the date, commit and device."""

import csv
import datetime
import io
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from rnnt.files import write_file

FOLDER = Path(__file__).resolve().parent / "results"


def append_rows(name: str, rows: Sequence[Mapping[str, object]], device: str = "cpu", folder: Path = FOLDER) -> Path:
    """Append `rows` to `folder`/`name`.csv, with date, commit, device, torch version and threads as first columns.

    device: "cpu" or "cuda", used by the measurements. Numbers are rounded to four digits. New columns are added to
    the file; rows without a value for a column leave it empty. Returns the file's path.
    """
    path = folder / f"{name}.csv"
    old = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))) if path.exists() else []
    new = [{**_circumstances(device), **{key: _short(value) for key, value in row.items()}} for row in rows]
    columns = list(dict.fromkeys(key for row in old + new for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(old + new)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(path, text.getvalue())
    return path


def device_name(device: str) -> str:
    """Return the model name of the GPU, or of the processor with its number of cores."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    names = [platform.processor() or platform.machine()]
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")] or names
    return f"{names[0]} x {os.cpu_count()}"


def _circumstances(device: str) -> dict[str, object]:
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        "commit": _commit(),
        "device": device_name(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _commit() -> str:
    """The commit's short hash, followed by + if tracked files have changed since; empty outside of a git checkout."""
    command = ["git", "-C", str(FOLDER.parent), "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _short(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value
