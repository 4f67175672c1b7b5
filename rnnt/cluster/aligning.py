"""The work of an alignment. A reader reads each recording whole, and one actor aligns it with its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnt.audio import read_audio
from rnnt.cluster.inputs import Recording
from rnnt.cluster.storage import copied_name, local_copy
from rnnt.cluster.transcribing import ModelWork, make_row
from rnnt.recognizer import Recognizer
from rnnt.text import complaint
from rnnt.transcript import Transcript

Heard = tuple[np.ndarray | ValueError, str, str | None]  # samples or why there are none, digest of the file, text


@dataclass(frozen=True)
class ReadWhole:
    """Reads recordings whole, at a sample rate."""

    rate: int

    def __call__(self, recordings: Sequence[Recording]) -> Iterator[Heard]:
        """Yield a window for each recording."""
        for recording in recordings:
            try:
                with local_copy(recording.path) as (file, digest):
                    samples = read_audio(file, self.rate, name=copied_name(recording.path))
                    yield samples, digest, recording.text
            except (ValueError, OSError) as error:
                yield ValueError(complaint(error)), "", recording.text


@dataclass(frozen=True)
class AlignWork(ModelWork):
    """A `rnnt.cluster.schedule.Work` that finds when each word of known texts is said."""

    @property
    def read(self) -> ReadWhole:
        """The function that readers run: recordings -> windows."""
        return ReadWhole(self.grid.rate)

    def decode(self, recognizer: Recognizer, window: Heard) -> tuple[Transcript | ValueError, str]:
        """Return the alignment of a recording, or why there is none, and the digest of its file."""
        samples, digest, text = window
        if isinstance(samples, ValueError):
            return samples, digest
        try:
            if text is None:
                raise ValueError("the list gives no text for it")
            return recognizer.align(samples, text), digest
        except ValueError as error:
            return error, digest

    def rows(self, recordings: Sequence[Recording], results: Sequence[Any]) -> list[dict]:
        """Return the rows of recordings, given their results."""
        return [
            make_row(recording, _named(result, recording), self, digest)
            for recording, (result, digest) in zip(recordings, results, strict=True)
        ]


def _named(result: Transcript | ValueError, recording: Recording) -> Transcript | ValueError:
    """Return a result; an error begins with the path."""
    if isinstance(result, Transcript) or str(result).startswith(recording.path):
        return result
    return ValueError(f"{recording.path}: {result}")
