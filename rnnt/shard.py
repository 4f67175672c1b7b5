"""One Arrow file of a dataset: the columns of an utterance, and how it is written so that it is whole or not there."""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from rnnt.files import sync_folder
from rnnt.silence import speech_bounds

# Small batches: to find an utterance, Arrow parses the description of its batch, and a writer holds one in memory.
BATCH_BYTES = 4 << 20

_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("num_samples", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("speaker", pa.string(), nullable=False),
        pa.field("audio", pa.large_list(pa.field("item", pa.int16(), nullable=False)), nullable=False),
        # The bounds of the speech: to find them takes longer than to read the audio.
        pa.field("speech_start", pa.int32(), nullable=False),
        pa.field("speech_end", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Recording:
    """One utterance read from a dataset."""

    id: str
    audio: np.ndarray  # int16 (N,), a read-only view of the mapped shard: copy it before writing into it
    text: str
    speaker: str


@dataclass(frozen=True)
class Shard:
    """What `dataset.json` says of one shard."""

    name: str
    bytes: int
    sha256: str
    batches: list[int]  # utterances in each record batch


class ShardWriter:
    """Writes one shard to a temporary file; `close` flushes it to the disk and gives it its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0  # of audio so far
        self._temporary = path.with_name(path.name + ".tmp")
        self._file = _HashingFile(self._temporary)
        self._writer = pa.ipc.new_file(self._file, _SCHEMA)
        self._pending: list[Recording] = []
        self._pending_bytes = 0
        self._batches: list[int] = []

    def add(self, recording: Recording) -> None:
        size = recording.audio.nbytes
        if self._pending and self._pending_bytes + size > BATCH_BYTES:
            self._flush()
        self._pending.append(recording)
        self._pending_bytes += size
        self.bytes += size

    def close(self) -> Shard:
        self._flush()
        self._writer.close()
        self._file.sync()
        self._file.close()
        os.replace(self._temporary, self.path)
        sync_folder(self.path.parent)
        return Shard(self.path.name, self._file.bytes, self._file.sha256.hexdigest(), self._batches)

    def abort(self) -> None:
        """Remove the temporary file."""
        with suppress(OSError):  # a full disk refuses what is still buffered
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._pending:
            return
        lengths = np.array([len(recording.audio) for recording in self._pending], np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        samples = pa.array(np.concatenate([recording.audio for recording in self._pending]), pa.int16())
        starts, ends = zip(*(speech_bounds(recording.audio) for recording in self._pending))
        columns = [
            pa.array([recording.id for recording in self._pending], pa.string()),
            pa.array(lengths, pa.int32()),
            pa.array([recording.text for recording in self._pending], pa.string()),
            pa.array([recording.speaker for recording in self._pending], pa.string()),
            pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), samples, type=_SCHEMA.field("audio").type),
            pa.array(starts, pa.int32()),
            pa.array(ends, pa.int32()),
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
        self._batches.append(len(self._pending))
        self._pending, self._pending_bytes = [], 0


class _HashingFile:
    """A file to write that keeps the SHA-256 of its contents, so that no shard must be read back for it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
