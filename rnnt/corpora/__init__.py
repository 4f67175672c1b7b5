"""Raw corpora as utterances. Each corpus is a module with `splits(source, **options)`; `read_splits` calls it by name.

A module's options are the parameters of its `splits`, explained in that function's docstring.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnt.text import is_unicode, reason

MIN_SECONDS = 0.1
_SILENCE = 2  # range of the samples in digital silence; some recorders add noise of one step
_EDGE_SECONDS = 0.02  # left out of it at both ends: a constant that was resampled rings there

# A module is imported only when its corpus is wanted: some need libraries that the others do not (lhotse, espeak-ng).
CORPORA = {
    "librispeech": "rnnt.corpora.librispeech",
    "digits": "rnnt.corpora.digits",
    "synthetic": "rnnt.corpora.synthetic",
    "folder": "rnnt.corpora.folder",
    "lhotse": "rnnt.corpora.lhotse",
    "mlperf-json": "rnnt.corpora.mlperf_json",
    "timit": "rnnt.corpora.timit",
    "an4": "rnnt.corpora.an4",
    "lexicon": "rnnt.corpora.lexicon",
}


@dataclass(frozen=True)
class Utterance:
    """One utterance of a raw corpus. Its input, audio or a list of symbols, is not read yet.

    read: takes a sample rate and returns the audio at that rate, int16 mono (N,). It can be pickled, because other
    processes call it. It raises ValueError or OSError, with the reason, if the audio cannot be used. In a split of
    symbols, it returns the list of symbols, and the rate means nothing.
    times: each word or phone of the text with its start and end in seconds, if the corpus knows them.
    """

    id: str
    text: str
    speaker: str  # "" if it is not known
    read: Callable[[int], np.ndarray | list[str]]
    times: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True)
class Split:
    """A named part of a corpus. Its utterances have the same order on every machine."""

    utterances: Sequence[Utterance]
    problems: Sequence[tuple[str, str]] = ()  # id and reason of each utterance that the scan had to leave out
    input: str = "audio"  # of all utterances; or "symbols"


def read_utterance(utterance: Utterance, sample_rate: int) -> np.ndarray | list[str] | str:
    """Return the samples of an utterance, int16 (N,), or its symbols, or the reason why it cannot be used.

    It cannot be used if it has no text, if its text, id or speaker is not valid Unicode, if its audio cannot be
    read, is silent or is shorter than `MIN_SECONDS`, or if it has no symbols or one that is not valid Unicode. Raises
    TypeError if its corpus breaks the contract of `Utterance.read`.
    """
    if not utterance.text.strip():
        return "the text is empty"
    if not is_unicode(f"{utterance.id}{utterance.text}{utterance.speaker}"):
        return "its id, text or speaker is not valid Unicode; rename the file or correct the text"
    if "\0" in utterance.text:
        return "the text holds NUL characters; if it is UTF-16, convert it to UTF-8"
    try:
        samples = utterance.read(sample_rate)
    except Exception as error:  # whatever is wrong with one utterance must not stop the others
        return reason(error, limit=None)
    if isinstance(samples, list):
        if not samples or not all(samples):
            return "it has no symbols, or an empty one"
        return samples if is_unicode("".join(samples)) else "one of its symbols is not valid Unicode"
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise TypeError(f"{utterance.id}: read() gave {samples.dtype} of shape {samples.shape}, expected int16 (N,)")
    if len(samples) < MIN_SECONDS * sample_rate:
        return f"only {len(samples) / sample_rate:.3f} s long, the minimum is {MIN_SECONDS} s"
    edge = round(_EDGE_SECONDS * sample_rate)
    inner = samples[edge : len(samples) - edge]
    if int(inner.max()) - int(inner.min()) <= _SILENCE:
        return "holds only silence, but has a text"
    return samples


def find_corpus(name: str) -> Callable[..., dict[str, Split]]:
    """Return the `splits` function of a corpus. Raises ValueError, which lists the corpora, for an unknown name."""
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}; there are {', '.join(CORPORA)}")
    return importlib.import_module(CORPORA[name]).splits


def read_splits(name: str, source: Path, **options) -> dict[str, Split]:
    """Scan the corpus `name` at `source` and return its splits by name.

    Raises ValueError for an unknown corpus or option, for an option's value of the wrong type, for a source with
    another layout than the corpus has, and for a split whose name is not valid Unicode.
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
    found = splits(Path(source), **options)
    for split in found:
        if not is_unicode(split):
            raise ValueError(f"the name of the split {split!r} is not valid Unicode; rename its file or folder")
    return found
