"""Raw corpora as utterances. Each corpus is a module with `splits(source, **options)`; `read_splits` calls it by name.

A module's options are the parameters of its `splits`, explained in that function's docstring.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# A module is imported only when its corpus is wanted: some need libraries that the others do not (lhotse, espeak-ng).
CORPORA = {
    "librispeech": "rnnt.corpora.librispeech",
    "digits": "rnnt.corpora.digits",
    "synthetic": "rnnt.corpora.synthetic",
    "folder": "rnnt.corpora.folder",
    "lhotse": "rnnt.corpora.lhotse",
    "mlperf-json": "rnnt.corpora.mlperf_json",
}


@dataclass(frozen=True)
class Utterance:
    """One utterance of a raw corpus. Its audio is not read yet.

    read: takes a sample rate and returns the audio at that rate, int16 mono (N,). It can be pickled, because other
    processes call it. It raises ValueError or OSError, with the reason, if the audio cannot be used.
    """

    id: str
    text: str
    speaker: str  # "" if it is not known
    read: Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Split:
    """A named part of a corpus. Its utterances have the same order on every machine."""

    utterances: Sequence[Utterance]
    problems: Sequence[tuple[str, str]] = ()  # id and reason of each utterance that the scan had to leave out


def find_corpus(name: str) -> Callable[..., dict[str, Split]]:
    """Return the `splits` function of a corpus. Raises ValueError, which lists the corpora, for an unknown name."""
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}; there are {', '.join(CORPORA)}")
    return importlib.import_module(CORPORA[name]).splits


def read_splits(name: str, source: Path, **options) -> dict[str, Split]:
    """Scan the corpus `name` at `source` and return its splits by name.

    Raises ValueError for an unknown corpus or option, for an option's value of the wrong type, and for a source with
    another layout than the corpus has.
    """
    splits = find_corpus(name)
    known = {key: kind.annotation for key, kind in inspect.signature(splits).parameters.items() if key != "source"}
    for key, value in options.items():
        if key not in known:
            raise ValueError(f"corpus {name!r} has no option {key!r}; it has {', '.join(known) or 'none'}")
        kind = known[key]
        if isinstance(value, bool) or not isinstance(value, int | float if kind is float else kind):
            wanted = kind.__name__ if isinstance(kind, type) else str(kind)
            mend = f"; for a text that looks like a number write \"{key}='...'\"" if kind == str | None else ""
            raise ValueError(f"option {key!r} of corpus {name!r} must be {wanted}, not {value!r}{mend}")
    return splits(Path(source), **options)
