"""How well a model finds when known symbols were said: its alignments, compared with the times that people have marked.

A boundary is the start of each symbol of a text but the first. The measures are those of the literature on TIMIT: the
share of boundaries that are found within 10, 20 and 50 ms, and the mean absolute error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnt.dataset import Dataset
from rnnt.known_times import KnownTimes, read_times
from rnnt.text import reason

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

WITHIN_MS = (10, 20, 50)
_ROUNDING = 1e-9  # seconds


@dataclass(frozen=True)
class TimeErrors:
    """The errors of boundaries.

    errors: found less known time of each boundary, in seconds (N,). utterances: whose texts were aligned; skipped: (id,
    reason) of the others.
    """

    errors: np.ndarray
    utterances: int
    skipped: list[tuple[str, str]]

    @property
    def mean(self) -> float:
        """The mean absolute error in seconds."""
        return float(np.abs(self.errors).mean())

    def share_within(self, seconds: float) -> float:
        """Return the share of boundaries with an error of at most so many seconds, early or late."""
        return float((np.abs(self.errors) <= seconds + _ROUNDING).mean())

    def to_json(self) -> dict:
        """Return the figures for `scores.json`; errors are in seconds, and None without boundaries."""
        found = len(self.errors) > 0
        within = {f"within_{ms}_ms": self.share_within(ms / 1000) if found else None for ms in WITHIN_MS}
        errors = {
            "mean": self.mean if found else None,
            "median": float(np.median(self.errors)) if found else None,
        }
        return {"boundaries": len(self.errors), "utterances": self.utterances, **within, **errors}

    def __str__(self) -> str:
        if not len(self.errors):
            return "no boundaries"
        within = ", ".join(f"{100 * self.share_within(ms / 1000):.1f} % within {ms} ms" for ms in WITHIN_MS)
        return (
            f"{len(self.errors)} boundaries in {self.utterances} utterances: {within}, mean error "
            f"{1000 * self.mean:.1f} ms, median {1000 * np.median(self.errors):+.1f} ms"
        )


def read_all_times(folders: Iterable[Path]) -> dict[str, KnownTimes]:
    """Return the known times of several splits, by the ids of their utterances.

    Raises ValueError if a split has none, or if utterances of two splits have the same id and different times.
    """
    found: dict[str, KnownTimes] = {}
    for folder in folders:
        for identity, times in read_times(folder).items():
            if found.setdefault(identity, times) != times:
                raise ValueError(f"{folder}: another split has an utterance {identity!r} too; judge each split alone")
    return found


def time_errors(
    recognizer: Recognizer,
    dataset: Dataset,
    known: Mapping[str, KnownTimes],
    track: Callable[[Iterable, int, str], Iterable] = lambda items, total, name: items,
) -> TimeErrors:
    """Align the text of each utterance with its audio, and compare the starts of its symbols with the known ones.

    known: by id; the symbols must be those of the text, separated by spaces. Utterances without known times, and those
    whose text cannot be aligned, are skipped. track(iterable, total, description) may show the progress. Raises
    ValueError if the data has another sample rate.
    """
    rate = recognizer.config.features.sample_rate
    if dataset.sample_rate != rate:
        raise ValueError(f"the data is at {dataset.sample_rate} Hz, the model at {rate} Hz; prepare the data again")
    errors: list[float] = []
    skipped: list[tuple[str, str]] = []
    for index in track(range(len(dataset)), len(dataset), "align"):
        identity = dataset.id(index)
        try:
            errors += _errors(recognizer, dataset, index, known.get(identity, ()))
        except (ValueError, OSError) as error:
            skipped.append((identity, reason(error)))
    return TimeErrors(np.array(errors), len(dataset) - len(skipped), skipped)


def _errors(recognizer: Recognizer, dataset: Dataset, index: int, known: KnownTimes) -> list[float]:
    if not known:
        raise ValueError("its times are not known")
    utterance = dataset[index]
    symbols = [symbol for symbol, _, _ in known]
    if symbols != utterance.text.split():
        raise ValueError("its times are those of another text")
    words = recognizer.align(utterance.input.copy(), utterance.text).words  # torch takes no read-only samples
    if len(words) != len(symbols):
        raise ValueError(f"the model divides its text into {len(words)} words, not {len(symbols)}")
    return [word.start - start for word, (_, start, _) in zip(words[1:], known[1:])]
