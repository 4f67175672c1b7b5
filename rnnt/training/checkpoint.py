"""Checkpoints: on the disk whole or not at all, verified by SHA-256, loaded without running code."""

import math
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from rnnt.files import replacing_folder, sha256_of, sync_file, write_file
from rnnt.text import reason

_STATE, _SUM = "state.pt", "state.sha256"
_NAME = re.compile(r"step-(\d{8,})")


def save(folder: Path, step: int, state: dict, keep: int) -> Path:
    """Write `folder`/step-<step>/ and remove all but the newest `keep`.

    Checkpoints of later steps are removed too: the run found them damaged when it resumed. Raises OSError on a full
    disk; the other checkpoints then stay as they are.

    state: nested dictionaries and lists of tensors, numbers and strings.
    """
    final = folder / f"step-{step:08d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing_folder(final) as new:
            with open(new / _STATE, "wb") as file:
                torch.save(state, file)
                sync_file(file)
            write_file(new / _SUM, sha256_of(new / _STATE))
    except (OSError, RuntimeError) as error:
        # If writing fails, torch.save raises RuntimeError about an incomplete file, in the context of the real error.
        cause = error.__context__
        if isinstance(cause, (KeyboardInterrupt, SystemExit)):
            raise cause from None
        raise OSError(f"cannot save {final}: {reason(cause if isinstance(cause, OSError) else error)}") from error
    for later in [path for path in steps(folder) if _step_of(path) > step]:
        shutil.rmtree(later, ignore_errors=True)
    clean(folder, step, keep)
    return final


def steps(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_step_of)


def load_newest(folder: Path, check: Callable[[dict], None] = lambda state: None) -> tuple[dict | None, list[str]]:
    """Return the state of the newest checkpoint that can be used, and a line for each newer one that cannot.

    The state is None if there is no checkpoint, or if the files of all of them are damaged. check(state): raises an
    error if the run cannot go on from a state. Raises ValueError if no checkpoint can be used although the files of at
    least one are whole: to begin anew would replace a run that another version may be able to read.
    """
    problems, refused = [], ""
    for path in reversed(steps(folder)):
        whole = False
        try:
            whole = (path / _SUM).read_text().strip() == sha256_of(path / _STATE)
            if not whole:
                raise ValueError("its checksum does not fit")
            state = torch.load(path / _STATE, map_location="cpu", weights_only=True)
            check(state)
            return state, problems
        except Exception as error:  # a damaged file may raise anything; the checkpoint before it is tried
            why = (
                reason(error, 120) if isinstance(error, ValueError) else f"{type(error).__name__}: {reason(error, 100)}"
            )
            problems.append(f"{path} is damaged ({why}); passed over")
            refused = refused or (f"{path}: {why}" if whole else "")
    if refused:
        raise ValueError(
            f"no checkpoint in {folder} can be used ({refused}); choose another --out, or remove the run to start anew"
        )
    return None, problems


def clean(folder: Path, step: int, keep: int) -> None:
    """Remove what killed processes left: unfinished checkpoints, and all but the newest `keep` up to this step."""
    for left in folder.glob(".step-*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    for old in [path for path in steps(folder) if _step_of(path) <= step][:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def check_like(found: Any, expected: Any, place: str) -> None:
    """Raise ValueError that names the place if a part of a state is not like the expected one.

    It must have the same keys, kinds of values, and shapes and types of tensors, and hold no NaN and no infinity.
    """
    if isinstance(expected, torch.Tensor):
        if not isinstance(found, torch.Tensor) or found.shape != expected.shape or found.dtype != expected.dtype:
            raise ValueError(f"{place} is not a tensor of shape {tuple(expected.shape)} of {expected.dtype}")
        if found.is_floating_point() and not torch.isfinite(found).all():
            raise ValueError(f"{place} holds NaN or infinity")
    elif isinstance(expected, dict):
        check_keys(found, expected, place)
        for name, value in expected.items():
            check_like(found[name], value, f"{place}.{name}")
    elif isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(expected):
            raise ValueError(f"{place} is not a list of {len(expected)}")
        for i, value in enumerate(expected):
            check_like(found[i], value, f"{place}[{i}]")
    elif isinstance(expected, float):
        if not isinstance(found, (int, float)) or isinstance(found, bool) or not math.isfinite(found):
            raise ValueError(f"{place} is not a finite number")
    elif type(found) is not type(expected):
        raise ValueError(f"{place} is not of type {type(expected).__name__}")


def check_keys(found: Any, expected: Iterable, place: str) -> None:
    """Raise ValueError that names the first key in which a dictionary differs from the expected keys."""
    if not isinstance(found, dict):
        raise ValueError(f"{place} is not a dictionary")
    odd = sorted(map(str, found.keys() ^ set(expected)))
    if odd:
        raise ValueError(f"{place} {'has' if odd[0] in map(str, found) else 'lacks'} {odd[0][:80]}")


def _step_of(path: Path) -> int:
    return int(_NAME.fullmatch(path.name)[1])
