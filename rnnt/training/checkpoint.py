"""Checkpoints: whole on the disk or not there, checked by SHA-256, loaded without running code."""

import os
import re
import shutil
from pathlib import Path

import torch

from rnnt.files import sha256_of, sync_folder

_STATE, _SUM = "state.pt", "state.sha256"
_NAME = re.compile(r"step-(\d{8,})")


def save(folder: Path, step: int, state: dict, keep: int) -> Path:
    """Write `folder`/step-<step>/ and remove all but the newest `keep`. OSError (a full disk) leaves the others alone.

    Those of later steps, which the run passed over as damaged when it resumed, are removed as well.
    state: nested dictionaries and lists of tensors, numbers and strings.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        with open(temporary / _STATE, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        with open(temporary / _SUM, "w") as file:
            file.write(sha256_of(temporary / _STATE))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(temporary)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        sync_folder(folder)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        cause = error.__context__  # what stopped torch's writer, which then complains of a file cut short
        if isinstance(cause, (KeyboardInterrupt, SystemExit)):
            raise cause from None
        reason = cause if isinstance(cause, OSError) else error
        raise OSError(f"cannot save {final}: {' '.join(str(reason).split())[:200]}") from error
    found = steps(folder)
    place = found.index(final) + 1
    for old in found[: max(0, place - keep)] + found[place:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def steps(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(_NAME.fullmatch(path.name)[1]))


def load_newest(folder: Path) -> tuple[dict | None, list[str]]:
    """The state of the newest whole checkpoint (None without one), and a line for each damaged one passed over."""
    problems = []
    for path in reversed(steps(folder)):
        try:
            if (path / _SUM).read_text().strip() != sha256_of(path / _STATE):
                raise ValueError("its checksum does not fit")
            return torch.load(path / _STATE, map_location="cpu", weights_only=True), problems
        except Exception as error:  # whatever a damaged file raises: the one before is taken
            problems.append(f"{path} is damaged ({' '.join(str(error).split())[:120]}); passed over")
    return None, problems
