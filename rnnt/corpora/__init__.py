"""Raw corpora as utterances. Each module here has `splits(source, **options)`; `read_splits` finds it by name."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Imported only when asked for, since some need what others do without (lhotse, espeak-ng).
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
    """One utterance of a raw corpus, its audio not yet read."""

    id: str
    text: str
    speaker: str  # "" where it is not known
    read: Callable[[int], np.ndarray]  # sample rate -> int16 mono (N,); picklable; ValueError or OSError if unusable


@dataclass(frozen=True)
class Split:
    """A named part of a corpus, in an order that is the same on every machine."""

    utterances: Sequence[Utterance]
    problems: Sequence[tuple[str, str]] = ()  # (id, reason) of what had to be left out already


def find_corpus(name: str) -> Callable[..., dict[str, Split]]:
    """The `splits` function of a corpus. Raises ValueError that lists the corpora when there is none of this name."""
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}; there are {', '.join(CORPORA)}")
    return importlib.import_module(CORPORA[name]).splits


def read_splits(name: str, source: Path, **options) -> dict[str, Split]:
    """Scan the corpus `name` at `source`. Raises ValueError for an unknown corpus or option, or a wrong layout."""
    splits = find_corpus(name)
    known = {key: kind.annotation for key, kind in inspect.signature(splits).parameters.items() if key != "source"}
    for key, value in options.items():
        if key not in known:
            raise ValueError(f"corpus {name!r} has no option {key!r}; it has {', '.join(known) or 'none'}")
        kind = known[key]
        if isinstance(value, bool) or not isinstance(value, int | float if kind is float else kind):
            wanted = kind.__name__ if isinstance(kind, type) else str(kind)
            raise ValueError(f"option {key!r} of corpus {name!r} must be {wanted}, not {value!r}")
    return splits(Path(source), **options)
