"""The output folder of a job: what the job is, and a shard for each portion that is finished.

A shard takes its name when it is on the disk whole, so a shard that is there is finished, and is never made again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rnnt.cluster.inputs import Portion, Recording, Table, portions, write_table
from rnnt.files import locked, write_file, write_json
from rnnt.text import read_text, reason

JOB = "job.json"
SUFFIXES = {"parquet": ".parquet", "json": ".jsonl"}
_NEW = ".listing.parquet"
_LOCK = ".lock"
_SAME = {  # what the results of a job depend on, and how a complaint calls it
    "task": "another task",
    "format": "another format",
    "model": "another model",
    "settings": "other settings",
}

WORD = pa.struct([("word", pa.string()), ("start", pa.float64()), ("end", pa.float64()), ("confidence", pa.float64())])
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("audio", pa.string()),  # SHA-256 of the file
        ("text", pa.string()),
        ("words", pa.list_(WORD)),
        ("transcribed", pa.float64()),  # seconds
        ("left_out", pa.float64()),  # seconds of silence and of other sounds without words
        ("truncated", pa.bool_()),
        ("reference", pa.string()),  # the text that the list gives
        ("settings", pa.string()),  # of decoding, as JSON
        ("model", pa.string()),  # SHA-256 of its files
        ("error", pa.string()),
    ]
)


class Ledger:
    """The finished portions of a job.

    tables: of its recordings, more than one if some were added later. done: the numbers of the finished portions.
    """

    def __init__(self, folder: Path, kind: str, tables: Sequence[Table]):
        self.folder, self.tables = folder, tables
        self._suffix = SUFFIXES[kind]
        pattern = re.compile(rf"part-(\d{{7,}}){re.escape(self._suffix)}")
        self.done = {int(match[1]) for file in folder.iterdir() if (match := pattern.fullmatch(file.name))}

    @property
    def bytes(self) -> int:
        """The size of all recordings."""
        return sum(table.bytes for table in self.tables)

    def portions(self) -> Iterator[Portion]:
        """Yield all portions of the job, in the order of the recordings."""
        number = 0
        for table in self.tables:
            for portion in portions(table):
                yield replace(portion, number=number)
                number += 1

    def write(self, number: int, rows: Sequence[dict[str, Any]]) -> None:
        """Write the shard of a portion, whole or not at all. Raises OSError if the disk is full."""
        if self._suffix == ".jsonl":
            lines = (json.dumps({name: row[name] for name in SCHEMA.names}, ensure_ascii=False) for row in rows)
            write_file(self._shard(number), "".join(f"{line}\n" for line in lines))
        else:
            sink = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), sink, compression="zstd")
            write_file(self._shard(number), sink.getvalue().to_pybytes())
        self.done.add(number)

    def read(self, number: int, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a finished portion. Raises ValueError if its shard is damaged."""
        file = self._shard(number)
        try:
            if self._suffix == ".jsonl":
                return [json.loads(line) for line in read_text(file).split("\n")[:-1]]
            return pq.read_table(file, columns=None if columns is None else list(columns)).to_pylist()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ValueError(f"{file} is damaged ({reason(error)}); remove it and run the same command again") from None

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of all finished portions, in the order of the recordings."""
        for number in sorted(self.done):
            yield self.read(number, columns)

    def _shard(self, number: int) -> Path:
        return self.folder / f"part-{number:07d}{self._suffix}"


@contextmanager
def open_ledger(folder: Path, recordings: Iterator[Recording], job: dict[str, Any], kind: str) -> Iterator[Ledger]:
    """Open the ledger of a job in a folder, which is made, or go on with the same job there.

    job: has `task`, the digests `model` and `settings`, and anything else that describes the job. Recordings that are
    new since the last time are added as a further table. Raises ValueError with one line if the folder holds another
    job, recordings of it are gone or have changed, or another process works at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / _LOCK, f"{folder}: another process works at this job"):
        before = _read_job(folder)
        if before is None and any(folder.glob("part-*")):
            raise ValueError(f"{folder} holds shards without a {JOB}; give --out another folder")
        job = {**job, "format": kind}
        for key, name in _SAME.items():
            if before is not None and before.get(key) != job.get(key):
                raise ValueError(f"{folder} holds a job with {name}; give --out another folder")
        listing = write_table(recordings, folder / _NEW)
        try:
            tables = _with_new(folder, listing, before)
        finally:
            listing.path.unlink(missing_ok=True)
        described = [[table.count, table.bytes, table.digest] for table in tables]
        write_json(folder / JOB, {**job, "listing": listing.digest, "tables": described})
        yield Ledger(folder, kind, tables)


def _with_new(folder: Path, listing: Table, before: dict[str, Any] | None) -> list[Table]:
    """Return the tables of a job, and one more if the listing of its inputs has new recordings."""
    if before is None:
        listing.path.replace(_inputs(folder, 0))
        return [replace(listing, path=_inputs(folder, 0))]
    tables = [Table(_inputs(folder, number), *values) for number, values in enumerate(before["tables"])]
    if listing.digest == before["listing"]:
        return tables
    known = {hash(recording) for table in tables for recording in table.recordings()}
    if sum(hash(recording) in known for recording in listing.recordings()) < len(known):
        raise ValueError(f"{folder} holds a job with other recordings; give --out another folder")
    new = (recording for recording in listing.recordings() if hash(recording) not in known)
    if listing.count == len(known):  # in another order
        return tables
    return [*tables, write_table(new, _inputs(folder, len(tables)))]


def _inputs(folder: Path, number: int) -> Path:
    return folder / f"inputs-{number:04d}.parquet"


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read_job(folder: Path) -> dict[str, Any] | None:
    try:
        job = json.loads(read_text(folder / JOB))
        if not isinstance(job, dict) or not {"listing", "tables"} <= job.keys():
            raise ValueError("it lacks what a job has")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{folder / JOB} is damaged ({reason(error)}); give --out another folder") from None
    return job
