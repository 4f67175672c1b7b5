"""Checkpoints: on the disk whole or not at all, verified by SHA-256, loaded without running code."""

import re
import shutil
from pathlib import Path

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
    found = steps(folder)
    place = found.index(final) + 1
    for old in found[: max(0, place - keep)] + found[place:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def steps(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(_NAME.fullmatch(path.name)[1]))


def load_newest(folder: Path) -> tuple[dict | None, list[str]]:
    """Return the state of the newest undamaged checkpoint, None if there is none, and a line for each damaged one."""
    problems = []
    for path in reversed(steps(folder)):
        try:
            if (path / _SUM).read_text().strip() != sha256_of(path / _STATE):
                raise ValueError("its checksum does not fit")
            return torch.load(path / _STATE, map_location="cpu", weights_only=True), problems
        except Exception as error:  # a damaged file may raise anything; the checkpoint before it is tried
            problems.append(f"{path} is damaged ({reason(error, 120)}); passed over")
    return None, problems
