"""The recordings of a job: found in folders, lists and URIs, kept in a table on the disk, and divided into portions.

A table may have millions of rows, so it is written and read piece by piece.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rnnt.cluster.storage import Found, audio_in, is_folder, is_uri, local_copy, look_up
from rnnt.corpora.manifest import parse_json, to_seconds
from rnnt.files import replacing

LISTS = (".jsonl", ".json", ".tsv", ".parquet")
_PATHS = ("audio_filepath", "path", "audio")  # names of the column with the recordings
_ROWS = 1 << 14  # of the table that are in memory together
# A job has some 20,000 portions, each within these bounds: what a killed driver loses is then little of the whole.
_PORTIONS = 20_000
_FEWEST, _MOST = 64, 4096  # recordings of a portion
_LEAST_BYTES, _MOST_BYTES = 16 << 20, 1 << 30  # after which a portion takes no further recording

# A path is binary, because a file name on Linux may hold any bytes.
_SCHEMA = pa.schema([("path", pa.binary()), ("size", pa.int64()), ("modified", pa.int64()), ("text", pa.string())])


@dataclass(frozen=True)
class Recording:
    """A recording of a job. text: what is said in it, if the list tells."""

    path: str
    size: int
    modified: int
    text: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of recordings on the disk. digest: SHA-256 of all its rows."""

    path: Path
    count: int
    bytes: int
    digest: str

    def recordings(self) -> Iterator[Recording]:
        """Yield the recordings, in order."""
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(_ROWS):
                for path, *others in zip(*(column.to_pylist() for column in batch.columns)):
                    yield Recording(os.fsdecode(path), *others)


@dataclass(frozen=True)
class Portion:
    """Consecutive recordings of a table, whose results are one shard."""

    number: int
    recordings: tuple[Recording, ...]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(recording.size for recording in self.recordings)


def portions(table: Table) -> Iterator[Portion]:
    """Divide a table. The portions depend on nothing else, so every run of a job has the same ones."""
    most = min(max(table.count // _PORTIONS, _FEWEST), _MOST)
    most_bytes = min(max(table.bytes // _PORTIONS, _LEAST_BYTES), _MOST_BYTES)
    number, taken, size = 0, [], 0
    for recording in table.recordings():
        taken.append(recording)
        size += recording.size
        if len(taken) >= most or size >= most_bytes:
            yield Portion(number, tuple(taken))
            number, taken, size = number + 1, [], 0
    if taken:
        yield Portion(number, tuple(taken))


def write_table(recordings: Iterable[Recording], path: Path) -> Table:
    """Write the table of a job's recordings. Raises ValueError if one is named twice or there are none."""
    digest, count, size = hashlib.sha256(), 0, 0
    hashes = []
    rows = iter(recordings)
    with replacing(path) as file, pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        while block := list(islice(rows, _ROWS)):
            for row in block:
                digest.update(json.dumps([row.path, row.size, row.modified, row.text]).encode())
            columns = (
                [os.fsencode(row.path) for row in block],
                *([getattr(row, name) for row in block] for name in _SCHEMA.names[1:]),
            )
            arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA)]
            writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
            hashes.append(np.array([hash(row.path) for row in block], np.int64))
            count += len(block)
            size += sum(row.size for row in block)
        if not count:
            raise ValueError("there are no recordings; give files, folders or lists of them")
    table = Table(path, count, size, digest.hexdigest())
    _require_distinct(table, np.concatenate(hashes))
    return table


def _require_distinct(table: Table, hashes: np.ndarray) -> None:
    """Raise ValueError if a path occurs twice. Only paths whose hashes occur twice are compared, to save memory."""
    found, counts = np.unique(hashes, return_counts=True)
    suspects = set(found[counts > 1].tolist())
    if not suspects:
        return
    seen, twice = set(), []
    for recording in table.recordings():
        if hash(recording.path) in suspects:
            twice += [recording.path] if recording.path in seen else []
            seen.add(recording.path)
    if twice:
        table.path.unlink()
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        raise ValueError(f"{twice[0]} is named twice{more}; name each recording once")


def find_recordings(items: Sequence[str]) -> Iterator[Recording]:
    """Yield the recordings that are named, those in the folders named, sorted, and those in the lists named.

    A list is a table with columns (.tsv, .parquet) or a JSON object in each line (.jsonl): `audio_filepath` or `path`,
    and optionally `text`. A relative path is that from the folder of the list. Raises ValueError if something does not
    exist or a list makes no sense.
    """
    for item in items:
        bare = item.split("?")[0] if is_uri(item) else item
        if is_folder(item):
            yield from (_recording(found) for found in audio_in(item))
        elif bare.lower().endswith(LISTS):
            yield from _listed(item)
        else:
            (found,) = look_up([item])
            if found is None:
                raise ValueError(f"{item}: no such file; give audio files, folders or lists ({', '.join(LISTS)})")
            yield _recording(found)


def _recording(found: Found, text: str | None = None) -> Recording:
    return Recording(found.path, found.size, found.modified, text)


def _listed(item: str) -> Iterator[Recording]:
    """Yield the recordings of a list. All missing files are counted before the first one is reported."""
    folder = item.rpartition("/")[0] if is_uri(item) else str(Path(item).parent)
    missing, first = 0, ""
    with local_copy(item) as (file, _):
        if not file.is_file():
            raise ValueError(f"{item}: no such file")
        lines = iter(_rows(file, item))
        while block := list(islice(lines, _ROWS)):
            paths = [_path(folder, row, place) for place, row in block]
            for (place, row), path, found in zip(block, paths, look_up(paths)):
                if found is None:
                    missing += 1
                    first = first or f"{place}: {path}"
                elif not missing:
                    yield _recording(found, _text(row, place))
    if missing:
        raise ValueError(f"{first}: no such file ({missing} of the list are missing); mend the list or mount the files")


def _rows(file: Path, name: str) -> Iterator[tuple[str, dict]]:
    """Yield the rows of a list, each after its place in words."""
    kind = Path(name.split("?")[0]).suffix.lower()
    if kind == ".parquet":
        yield from _parquet_rows(file, name)
        return
    columns: list[str] | None = None
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            place = f"{name}, line {number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{place}: is not UTF-8 text (byte {error.start}); convert the list") from None
            if not text.strip():
                continue
            if kind != ".tsv":
                try:
                    yield place, parse_json(text)
                except ValueError as error:
                    raise ValueError(f"{place}: {error}; write a JSON object in each line") from None
                continue
            cells = [cell.strip() for cell in text.split("\t")]
            if columns is None and any(cell in _PATHS for cell in cells):
                columns = cells
                continue
            columns = columns or ["path", "text"][: len(cells)]
            if len(cells) != len(columns):
                raise ValueError(f"{place}: has {len(cells)} columns instead of {len(columns)}")
            yield place, dict(zip(columns, cells))


def _parquet_rows(file: Path, name: str) -> Iterator[tuple[str, dict]]:
    try:
        with pq.ParquetFile(file) as table:
            names = [column for column in table.schema_arrow.names if column in (*_PATHS, "text", "offset")]
            start = 1
            for batch in table.iter_batches(_ROWS, columns=names):
                for number, row in enumerate(batch.to_pylist(), start):
                    yield f"{name}, row {number}", row
                start += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name}: is no Parquet file that can be read ({str(error)[:100]})") from None


def _path(folder: str, row: object, place: str) -> str:
    name = next((row[key] for key in _PATHS if row.get(key)), None) if isinstance(row, dict) else None
    if not isinstance(name, str) or "\0" in name:
        raise ValueError(f"{place}: names no recording; it needs {' or '.join(_PATHS[:2])}")
    if to_seconds(row.get("offset"), "offset"):
        raise ValueError(f"{place}: names a part of a recording (offset); whole ones are transcribed, so leave it out")
    if is_uri(name) or name.startswith("/"):
        return name
    return f"{folder}/{name}" if is_uri(folder) else str(Path(folder) / name)


def _text(row: dict, place: str) -> str | None:
    text = row.get("text")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{place}: 'text' must be a text, not {text!r:.40}")
    return text
