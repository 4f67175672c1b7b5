"""A shard: one Arrow file of a dataset, on the disk whole or not at all. Two schemas: audio and symbols as input."""

import hashlib
import os
import struct
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from rnnt.arrow import read_layout
from rnnt.files import HashingFile, sync_folder
from rnnt.silence import speech_bounds

# Small batches: a writer holds one in memory.
BATCH_BYTES = 4 << 20
_SYMBOL_BYTES = 64  # of memory that a symbol takes in a list, without its characters


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
# By the names of the columns: the kind of the input, and whether the bounds of the speech are there. Shards of earlier
# versions lack these.
_KINDS = {
    tuple(_SCHEMAS["audio"].names): ("audio", True),
    tuple(_SCHEMAS["audio"].names[:-2]): ("audio", False),
    tuple(_SCHEMAS["symbols"].names): ("symbols", False),
}
# The numbers of the buffers in a record batch. Each column has one that could mark nulls, then: offsets and content
# (texts), numbers (lengths), or offsets and the buffers of another column (audio, symbols).
_TEXT_COLUMNS = {"id": 1, "text": 6, "speaker": 9}
_LENGTHS, _INPUTS, _SPEECH = 4, 12, 16
_NUM_BUFFERS = {("audio", True): 19, ("audio", False): 15, ("symbols", False): 16}
_INT = struct.Struct("<i")


@dataclass(frozen=True)
class StoredUtterance:
    """One utterance of a dataset."""

    id: str
    # Audio: int16 samples (N,); those read from a dataset are read-only, so copy them before writing into them.
    # Or a list of symbols, such as the letters of a word.
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
        self.bytes = 0  # of memory that all inputs so far took
        self._input = input
        self._temporary = path.with_name(path.name + ".tmp")
        self._file = HashingFile(self._temporary)
        self._writer = pa.ipc.new_file(self._file, _SCHEMAS[input])
        self._pending: list[StoredUtterance] = []
        self._pending_bytes = 0
        self._batches: list[int] = []

    def add(self, utterance: StoredUtterance) -> None:
        """Append an utterance."""
        given = utterance.input
        size = given.nbytes if self._input == "audio" else _SYMBOL_BYTES * len(given) + sum(map(len, given))
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


class ShardReader:
    """An open shard; safe from several threads and in forked processes.

    It is read and not mapped: a mapped file that is truncated by another program would end this process. Nothing in it
    is trusted. Raises ValueError that names the file if it is damaged, OSError that names it if the disk fails.

    rows: the number of utterances in each record batch.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        descriptor = os.open(path, os.O_RDONLY)
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        status = os.fstat(descriptor)
        self._seen = (status.st_size, status.st_mtime_ns)
        try:
            names, self._batches = read_layout(self._read, status.st_size)
        except ValueError as error:
            raise self.damaged(str(error)) from None
        self.input, self.has_speech_bounds = _KINDS.get(tuple(names), ("", False))
        if not self.input:
            raise self.damaged("its columns are not those of a shard")
        self.rows = [batch.rows for batch in self._batches]
        if any(len(batch.buffers) != _NUM_BUFFERS[self.input, self.has_speech_bounds] for batch in self._batches):
            raise self.damaged("a record batch lacks a column")
        if any(not 0 <= 4 * batch.rows <= batch.buffers[_LENGTHS][1] for batch in self._batches):
            raise self.damaged("a record batch has another number of utterances than its columns")

    def text(self, column: str, batch: int, row: int) -> str:
        """Return the id, the text or the speaker of one utterance."""
        offsets = _TEXT_COLUMNS[column]
        start, end = self._bounds("<2i", batch, offsets, row)
        return self._decoded(self._part(batch, offsets + 1, start, end - start))

    def texts(self, column: str, batch: int) -> list[str]:
        """Return the ids, texts or speakers of all utterances of a record batch."""
        return self._strings(batch, _TEXT_COLUMNS[column], 0, self.rows[batch])

    def lengths(self, batch: int) -> np.ndarray:
        """Return the lengths of all inputs of a record batch, int32."""
        return np.frombuffer(self._part(batch, _LENGTHS, 0, 4 * self.rows[batch]), "<i4")

    def audio(self, batch: int, row: int) -> np.ndarray:
        """Return the samples of one utterance, int16 (N,), read-only."""
        start, end = self._bounds("<2q", batch, _INPUTS, row)
        return np.frombuffer(self._part(batch, _INPUTS + 2, 2 * start, 2 * (end - start)), "<i2")

    def symbols(self, batch: int, row: int) -> list[str]:
        """Return the symbols of one utterance."""
        start, end = self._bounds("<2i", batch, _INPUTS, row)
        return self._strings(batch, _INPUTS + 2, start, end)

    def words(self, batch: int) -> Iterator[list[str]]:
        """Yield the symbols of each utterance of a record batch."""
        size = self.rows[batch] + 1
        places = np.frombuffer(self._part(batch, _INPUTS, 0, 4 * size), "<i4").tolist()
        if places[0] < 0 or any(start > end for start, end in pairwise(places)):
            raise self.damaged("its offsets do not increase")
        symbols = self._strings(batch, _INPUTS + 2, places[0], places[-1])
        return (symbols[start - places[0] : end - places[0]] for start, end in pairwise(places))

    def speech(self, batch: int, row: int, length: int) -> tuple[int, int]:
        """Return the bounds of the speech of one utterance of `length` samples."""
        start, end = (_INT.unpack(self._part(batch, _SPEECH + 2 * i, 4 * row, 4))[0] for i in range(2))
        if not 0 <= start <= end <= length:
            raise self.damaged("the bounds of the speech are not within the audio")
        return start, end

    def require_unchanged(self, sha256: str) -> None:
        """Raise ValueError if another program wrote into the open file and its checksum is no longer this one."""
        status = os.fstat(self._descriptor)
        seen = (status.st_size, status.st_mtime_ns)
        if seen == self._seen:
            return
        found = hashlib.sha256()
        for place in range(0, status.st_size, 1 << 20):
            found.update(self._read(place, min(1 << 20, status.st_size - place)))
        if found.hexdigest() != sha256:
            raise self.damaged("another program wrote into it while it was open")
        self._seen = seen

    def _bounds(self, kind: str, batch: int, buffer: int, row: int) -> tuple[int, int]:
        size = struct.calcsize(kind)
        start, end = struct.unpack(kind, self._part(batch, buffer, row * size // 2, size))
        if not 0 <= start <= end:
            raise self.damaged("its offsets do not increase")
        return start, end

    def _strings(self, batch: int, offsets: int, start: int, end: int) -> list[str]:
        if start == end:
            return []
        places = np.frombuffer(self._part(batch, offsets, 4 * start, 4 * (end - start + 1)), "<i4")
        if places[0] < 0 or (np.diff(places.astype(np.int64)) < 0).any():
            raise self.damaged("its offsets do not increase")
        first = int(places[0])
        content = self._part(batch, offsets + 1, first, int(places[-1]) - first)
        return [self._decoded(content[a:b]) for a, b in pairwise((places - first).tolist())]

    def _decoded(self, content: bytes) -> str:
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise self.damaged("a text is not UTF-8") from None

    def _part(self, batch: int, buffer: int, start: int, size: int) -> bytes:
        place, length = self._batches[batch].buffers[buffer]
        if min(start, size) < 0 or start + size > length:
            raise self.damaged("an offset is not within its record batch")
        return self._read(place + start, size)

    def _read(self, place: int, size: int) -> bytes:
        try:
            content = os.pread(self._descriptor, size, place)
            while len(content) < size:  # more than the system reads at once, or the end of the file
                more = os.pread(self._descriptor, size - len(content), place + len(content))
                if not more:
                    raise self.damaged("it ends early")
                content += more
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from None
        return content

    def damaged(self, problem: str) -> ValueError:
        """Return the error that names this file and says how to mend it."""
        folder = Path(self._path).parent
        mend = f"remove {folder} and run `rnnt prepare CORPUS SOURCE --out {folder.parent}` again"
        return ValueError(f"{self._path}: is damaged ({problem}); copy it again, or {mend}")


# An open shard keeps its file open, and a process may often open no more than 1024. LibriSpeech is 430 shards.
@lru_cache(maxsize=512)
def open_shard(path: str, sha256: str) -> ShardReader:
    """Open a shard once a process, for all datasets.

    The checksum tells apart two shards that had the same path one after the other.
    """
    return ShardReader(path)
