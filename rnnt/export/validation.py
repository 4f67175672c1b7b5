"""The validation data of a run, found by its fingerprint: a run does not know in which folder its data lies."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from rnnt.dataset import Dataset
from rnnt.training.run import FINGERPRINTS
from rnnt.tree import distinct_folders

_MOST_FOLDERS = 2000  # that are looked into


def find_validation(model: Path, names: Sequence[str]) -> Dataset | None:
    """Return the validation data of the run that a model is of, or None if it is not found.

    names: the setting data.valid. Searched are the folders in the working directory and in those around the run, two
    levels deep. Names with patterns are not searched for.
    """
    run = model.resolve().parent if model.resolve().name == "best" else model.resolve()
    try:
        expected = json.loads((run / FINGERPRINTS).read_bytes())["valid"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not expected or not names:
        return None
    for folder in islice(_around(run), _MOST_FOLDERS):
        splits = [folder / name for name in names]
        if all((split / "dataset.json").is_file() for split in splits):
            with suppress(ValueError, OSError):
                dataset = Dataset(*distinct_folders(splits))
                if dataset.fingerprint == expected:
                    return dataset
    return None


def _around(run: Path) -> Iterator[Path]:
    """Yield the folders in which the splits may lie."""
    for base in (Path.cwd(), run.parent, run.parent.parent):
        for pattern in ("", "*/", "*/*/"):
            with suppress(OSError):
                yield from sorted(base.glob(pattern)) if pattern else [base]
