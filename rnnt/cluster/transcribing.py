"""The work of a transcription: the steps of `rnnt.transcription`, divided among readers, actors and the driver."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ray
import torch

from rnnt.cluster.inputs import Recording
from rnnt.cluster.model_files import ModelFiles
from rnnt.cluster.reading import ReadSegments
from rnnt.recognizer import Recognizer
from rnnt.recordings import End, Grid, Piece
from rnnt.text import complaint
from rnnt.transcript import Transcript
from rnnt.transcription import join_pieces, named_error, transcribe_pieces


@dataclass(frozen=True)
class ModelWork:
    """The part of a `rnnt.cluster.schedule.Work` that is the same for every use of a model.

    files: an object reference to `ModelFiles`. model, settings: for the rows, a digest and JSON. device: of the actors.
    """

    files: Any
    grid: Grid
    batch_size: int
    device: str
    model: str
    settings: str

    def open(self) -> _Worker:
        """Load the model."""
        return _Worker(self)

    def decode(self, recognizer: Recognizer, window: Any) -> Any:
        """Return the results of a window. Runs in an actor."""
        raise NotImplementedError

    def error_row(self, recording: Recording, problem: str) -> dict:
        """Return the row of a recording without a transcript."""
        return make_row(recording, ValueError(f"{recording.path}: {problem}"), self, "")


@dataclass(frozen=True)
class TranscribeWork(ModelWork):
    """A `rnnt.cluster.schedule.Work` that transcribes."""

    @property
    def read(self) -> ReadSegments:
        """The function that readers run: recordings -> windows."""
        return ReadSegments(self.grid, self.batch_size)

    def decode(
        self, recognizer: Recognizer, window: tuple[list[Piece | End], dict[int, str]]
    ) -> tuple[list, list[End], dict[int, str]]:
        """Return the segments of a window with their transcripts, the ends in it, and the digests of the files."""
        items, digests = window
        pieces = [item for item in items if isinstance(item, Piece)]
        decoded = [pair for batch in transcribe_pieces(recognizer, pieces, self.batch_size) for pair in batch]
        return decoded, [item for item in items if isinstance(item, End)], digests

    def rows(self, recordings: Sequence[Recording], results: Sequence[Any]) -> list[dict]:
        """Return the rows of recordings, given the results of all their windows."""
        parts: dict[int, list] = defaultdict(list)
        ends, digests = {}, {}
        for decoded, ended, of_files in results:
            for piece, result in decoded:
                parts[piece.recording].append((piece, result))
            ends |= {end.recording: end for end in ended}
            digests |= of_files
        rows = []
        for number, recording in enumerate(recordings):
            joined = named_error(join_pieces(ends[number], parts[number], self.grid), recording.path)
            rows.append(make_row(recording, joined, self, digests[number]))
        return rows


class _Worker:
    """A work with its model, in an actor."""

    def __init__(self, work: ModelWork):
        self._work = work
        if work.device == "cpu":
            torch.set_num_threads(1)  # there is an actor for each core
        files: ModelFiles = ray.get(work.files)
        self._recognizer = files.open(work.device)

    def decode(self, window: Any) -> Any:
        return self._work.decode(self._recognizer, window)


def make_row(recording: Recording, result: Transcript | Exception, work: ModelWork, audio: str) -> dict:
    """Return the row of a recording, as `rnnt.cluster.ledger.SCHEMA` has it. audio: the digest of its file."""
    failed = isinstance(result, Exception)
    error = complaint(result) if failed else result.error
    transcript = Transcript("", [], [], [], [], 0.0) if failed else result
    left_out = sum(end - start for start, end in transcript.left_out)
    return {
        "path": _utf8(recording.path),
        "audio": audio,
        "text": _utf8(transcript.text),
        "words": [asdict(word) | {"word": _utf8(word.word)} for word in transcript.words],
        "transcribed": round(transcript.seconds - left_out, 6),
        "left_out": round(left_out, 6),
        "truncated": transcript.truncated,
        "reference": recording.text,
        "settings": work.settings,
        "model": work.model,
        "error": None if error is None else _utf8(error),
    }


def _utf8(text: str) -> str:
    """Return a text that can be written as UTF-8: file names and tokens may hold any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()
