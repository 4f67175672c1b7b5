"""A shard: one Arrow file of a dataset, on the disk whole or not at all. Two schemas: audio and symbols as input."""

import hashlib
import mmap
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from rnnt.files import sync_folder
from rnnt.silence import speech_bounds

# Small batches: to find an utterance, Arrow parses the description of its batch, and a writer holds one in memory.
BATCH_BYTES = 4 << 20


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


# By the kind of the input.
_SCHEMAS = {
    "audio": _schema(
        id=pa.string(),
        num_samples=pa.int32(),
        text=pa.string(),
        speaker=pa.string(),
        audio=pa.large_list(pa.field("item", pa.int16(), nullable=False)),
        # The bounds of the speech are stored because finding them takes longer than reading the audio.
        speech_start=pa.int32(),
        speech_end=pa.int32(),
    ),
    "symbols": _schema(
        id=pa.string(),
        num_symbols=pa.int32(),
        text=pa.string(),
        speaker=pa.string(),
        symbols=pa.list_(pa.field("item", pa.string(), nullable=False)),
    ),
}
LENGTH_COLUMNS = {"audio": "num_samples", "symbols": "num_symbols"}


@dataclass(frozen=True)
class StoredUtterance:
    """One utterance of a dataset."""

    id: str
    # Audio: int16 samples (N,); one read from a dataset is a read-only view of the mapped shard, so copy it before
    # writing into it. Or a list of symbols, such as the letters of a word.
    input: np.ndarray | list[str]
    text: str
    speaker: str = ""  # "" if it is not known


@dataclass(frozen=True)
class Shard:
    """A shard as `dataset.json` describes it."""

    name: str
    bytes: int
    sha256: str
    batches: list[int]  # utterances in each record batch


class ShardWriter:
    """Writes one shard to a temporary file; `close` flushes it to the disk and gives it its name.

    input: "audio" or "symbols", the same for all utterances of the shard.
    """

    def __init__(self, path: Path, input: str = "audio") -> None:
        self.path = path
        self.bytes = 0  # of all inputs so far
        self._input = input
        self._temporary = path.with_name(path.name + ".tmp")
        self._file = _HashingFile(self._temporary)
        self._writer = pa.ipc.new_file(self._file, _SCHEMAS[input])
        self._pending: list[StoredUtterance] = []
        self._pending_bytes = 0
        self._batches: list[int] = []

    def add(self, utterance: StoredUtterance) -> None:
        """Append an utterance."""
        size = utterance.input.nbytes if self._input == "audio" else sum(map(len, utterance.input))
        if self._pending and self._pending_bytes + size > BATCH_BYTES:
            self._flush()
        self._pending.append(utterance)
        self._pending_bytes += size
        self.bytes += size

    def close(self) -> Shard:
        """Finish the file, give it its name and describe it."""
        self._flush()
        self._writer.close()
        self._file.sync()
        self._file.close()
        os.replace(self._temporary, self.path)
        sync_folder(self.path.parent)
        return Shard(self.path.name, self._file.bytes, self._file.sha256.hexdigest(), self._batches)

    def abort(self) -> None:
        """Remove the temporary file."""
        with suppress(OSError):  # on a full disk, closing fails to write the last buffer
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._pending:
            return
        inputs = [utterance.input for utterance in self._pending]
        columns = {name: [getattr(x, name) for x in self._pending] for name in ("id", "text", "speaker")}
        columns[LENGTH_COLUMNS[self._input]] = [len(x) for x in inputs]
        if self._input == "symbols":
            columns["symbols"] = inputs
        else:
            columns["audio"] = _lists(inputs)
            columns["speech_start"], columns["speech_end"] = zip(*map(speech_bounds, inputs))
        schema = _SCHEMAS[self._input]
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, schema.field(name).type)
            for name, column in ((name, columns[name]) for name in schema.names)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        self._batches.append(len(self._pending))
        self._pending, self._pending_bytes = [], 0


def _lists(inputs: list[np.ndarray]) -> pa.Array:
    """One column of int16 arrays, made without a Python object for each sample."""
    offsets = np.concatenate([[0], np.cumsum([len(samples) for samples in inputs], dtype=np.int64)])
    samples = pa.array(np.concatenate(inputs), pa.int16())
    kind = _SCHEMAS["audio"].field("audio").type
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), samples, type=kind)


class _HashingFile:
    """A file that computes the SHA-256 of its contents as they are written, so that no shard is read back for it."""

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


class ShardReader:
    """A shard that is mapped into memory; safe from several threads.

    Raises ValueError that names the file if it is damaged.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            # Arrow's own mapping advises the system to fetch the whole batch for each utterance that is read from it,
            # which takes ten times as long as reading.
            with open(path, "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._reader = pa.ipc.open_file(pa.py_buffer(mapped))
        except ValueError as error:  # pa.ArrowInvalid among them
            raise _damaged(path, error) from None
        self._lock = threading.Lock()  # Arrow does not promise that its reader is thread-safe

    def batch(self, number: int) -> pa.RecordBatch:
        """Return a record batch, without copying it."""
        with self._lock:
            try:
                return self._reader.get_batch(number)
            except (pa.ArrowInvalid, OSError) as error:
                raise _damaged(self._path, error) from None


def _damaged(path: str, error: Exception) -> ValueError:
    return ValueError(f"{path}: is damaged ({error}); remove the folder and prepare it again")


# A mapped shard keeps its file open, and a process may often open no more than 1024. LibriSpeech is 430 shards.
@lru_cache(maxsize=512)
def open_shard(path: str, sha256: str) -> ShardReader:
    """Open a shard once a process, for all datasets.

    The checksum tells apart two shards that had the same path one after the other.
    """
    return ShardReader(path)
