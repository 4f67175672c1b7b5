"""The folder of a report: one for each model and data, in which old and new files are never mixed."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rnnt.files import sync_folder

SUSPICIOUS = "suspicious.tsv"  # of `rnnt.suspicion`, written after the others
FILES = ("skipped.tsv", "pairs.jsonl", "nbest.jsonl", "report.html", "scores.json")
_MOST_BYTES = 120  # of a folder's name, well below the 255 that file systems allow


def split_names(data: Sequence[Path]) -> str:
    """Return the names of splits as one word."""
    return "+".join(path.resolve().name for path in data)


def subject_of(models: Sequence[Path], data: Sequence[Path], conditions: str = "") -> str:
    """Return a digest of the paths of a model, or of an ensemble's, and of splits. It tells different reports apart.

    conditions: noise and rooms in which the data is heard, in a word.
    """
    members, splits = ([os.fsencode(path.resolve()) for path in paths] for paths in (models, data))
    heard = [b"", os.fsencode(conditions)] if conditions else []
    return hashlib.sha256(b"\0".join([b"\0\0".join(members), *splits, *heard])).hexdigest()[:16]


def subject_in(folder: Path) -> str:
    """Return the subject of the report in a folder; empty if there is none, or if an earlier version wrote it."""
    try:
        return str(json.loads((folder / "scores.json").read_text(encoding="utf-8"))["subject"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return ""


def default_folders(models: Sequence[Path], data: Sequence[Path], conditions: str = "") -> list[Path]:
    """Return folders next to that of a model, the first of an ensemble, for the report on it, in order of preference.

    The first is called evaluation-SPLIT for the best model of a run, evaluation-ensemble-SPLIT for several models, and
    evaluation-MODEL-SPLIT for other models; the conditions follow if there are any. The last one differs for all
    models, data and conditions.
    """
    model, several = models[0], len(models) > 1
    whole = Path(os.path.abspath(model))  # has a name and a parent even if the model is "."
    parent = whole.parent if model.name in ("", "..") else model.parent
    of_run = whole.name == "best"
    name = "ensemble" if several else "" if of_run else whole.name
    plain = "-".join(filter(None, ("evaluation", name, split_names(data), conditions)))
    sources = "+".join(dict.fromkeys(path.resolve().parent.name for path in data))
    names = [name for name in (plain, f"{plain}-of-{sources}") if len(os.fsencode(name)) <= _MOST_BYTES]
    return [parent / name for name in (*names, f"evaluation-{subject_of(models, data, conditions)}")]


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make a report's folder and hold its lock. Raises BlockingIOError if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".report.lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def replacing_report(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write the files of a report into. They take the place of the old ones when `with` ends.

    The old ones are removed before the first new one takes its name, and the scores come last: a process that is killed
    leaves the old files, or new ones alone, and a report that has scores is complete. On an error the old files stay.
    """
    new = folder / ".report.tmp"
    shutil.rmtree(new, ignore_errors=True)  # left by a process that was killed
    try:
        new.mkdir()
        yield new
        for name in (SUSPICIOUS, *reversed(FILES)):
            (folder / name).unlink(missing_ok=True)
        for name in FILES:
            if (new / name).exists():
                os.replace(new / name, folder / name)
        sync_folder(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
