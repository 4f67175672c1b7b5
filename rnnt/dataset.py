"""Utterances on disk: a folder of Arrow shards that are memory-mapped, and `dataset.json` that describes them.

Below DATA/<split>/:
- `shard-00000.arrow` ...: columns id, num_samples, text, speaker, audio (int16 PCM, mono), speech_start and speech_end
  (what trimming the silence leaves of the audio)
- `num_samples.npy`: int32, of all utterances, so that a dataset opens without touching its shards
- `dataset.json`: version, utterances, hours, sample rate, source, the characters of the texts and where the rare ones
  are, size and SHA-256 of each shard
- `skipped.tsv`: id and reason of each utterance that was left out
"""

import json
import mmap
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rnnt.characters import Characters, find_characters
from rnnt.files import sha256_of, write_json
from rnnt.shard import Recording, Shard
from rnnt.silence import trim_silence

VERSION = 1
DESCRIPTION = "dataset.json"
LENGTHS = "num_samples.npy"
SKIPPED = "skipped.tsv"

# A mapped shard keeps its file open, and a process may often open no more than 1024. LibriSpeech is 430 shards.
_OPEN_SHARDS = 512


class Dataset(Sequence[Recording]):
    """One or several splits on disk, one after the other: `Dataset("data/train-clean-100", "data/train-clean-360")`.

    Reading an utterance copies nothing; it is safe from several threads, in forked processes, and after pickling.
    Raises ValueError if a folder is missing, is no dataset, lacks (part of) a shard, or has another sample rate.
    """

    def __init__(self, *folders: str | os.PathLike[str]) -> None:
        if not folders:
            raise ValueError("name at least one dataset folder")
        self.folders = tuple(Path(folder).absolute() for folder in folders)
        descriptions = [read_description(folder) for folder in self.folders]
        self.sample_rate: int = descriptions[0]["sample_rate"]
        for folder, description in zip(self.folders, descriptions):
            if description["sample_rate"] != self.sample_rate:
                raise ValueError(
                    f"{folder} is at {description['sample_rate']} Hz and {self.folders[0]} at {self.sample_rate} Hz: "
                    "prepare both with the same --sample-rate"
                )
        shards = [
            (folder / shard.name, shard)
            for folder, description in zip(self.folders, descriptions)
            for shard in description["shards"]
        ]
        self._shards = [(str(path), shard.sha256) for path, shard in shards]
        # Where each record batch starts: its first utterance, its shard, its number in the shard.
        rows = [rows for _, shard in shards for rows in shard.batches]
        self._batch_first = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
        self._batch_shard = np.repeat(np.arange(len(shards), dtype=np.int32), [len(s.batches) for _, s in shards])
        self._shard_first_batch = np.searchsorted(self._batch_shard, np.arange(len(shards)))
        # Of each folder its first record batch, and the characters of its texts unless it is of an earlier version.
        sizes = [sum(len(shard.batches) for shard in description["shards"]) for description in descriptions]
        self._folder_first_batch = np.cumsum([0, *sizes])
        self._characters: list[Characters | None] = [description.get("characters") for description in descriptions]
        self.num_samples: np.ndarray = np.concatenate([_read_lengths(folder) for folder in self.folders])  # int32
        if len(self.num_samples) != self._batch_first[-1]:
            raise ValueError(
                f"{', '.join(map(str, self.folders))}: {LENGTHS} does not fit the shards; prepare it again"
            )

    def __len__(self) -> int:
        return len(self.num_samples)

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.num_samples.sum(dtype=np.int64)) / self.sample_rate / 3600

    def __getitem__(self, index: int) -> Recording:
        return self.read(index)

    def read(self, index: int, trim: bool = False) -> Recording:
        """One utterance, without the silence at both ends if to `trim`."""
        batch, row = self._locate(index)
        audio = batch.column("audio")[row].values.to_numpy(zero_copy_only=True)
        if trim and batch.schema.get_field_index("speech_end") >= 0:
            audio = audio[batch.column("speech_start")[row].as_py() : batch.column("speech_end")[row].as_py()]
        elif trim:  # an earlier program wrote the shard
            audio = trim_silence(audio)
        return Recording(
            id=batch.column("id")[row].as_py(),
            audio=audio,
            text=batch.column("text")[row].as_py(),
            speaker=batch.column("speaker")[row].as_py(),
        )

    def text(self, index: int) -> str:
        """The text of an utterance, its audio untouched."""
        return self._field("text", index)

    def id(self, index: int) -> str:
        """The id of an utterance."""
        return self._field("id", index)

    def speaker(self, index: int) -> str:
        """The speaker of an utterance, "" where it is not known."""
        return self._field("speaker", index)

    def texts(self) -> Iterator[str]:
        """All texts in order."""
        return self._texts(0, len(self._batch_shard))

    def characters(self) -> set[str]:
        """All characters of the texts."""
        return {character for folder in range(len(self.folders)) for character in self._characters_of(folder)}

    def holding(self, characters: Collection[str]) -> Iterator[int]:
        """The utterances with any of these characters in their texts, in order.

        Only folders where one of them is common, or that were prepared by an earlier version, are read for it.
        """
        wanted = set(characters)
        for folder, (start, end) in enumerate(pairwise(self._folder_first_batch)):
            places = self._characters_of(folder).holding(wanted)
            if places is None:
                places = (i for i, text in enumerate(self._texts(start, end)) if not wanted.isdisjoint(text))
            yield from (int(self._batch_first[start]) + place for place in places)

    def verify(self) -> None:
        """Read every shard and compare its SHA-256. Raises ValueError that names the damaged shards."""
        damaged = [path for path, sha256 in self._shards if sha256_of(Path(path)) != sha256]
        if damaged:
            raise ValueError(f"damaged: {', '.join(damaged)}; remove the folder and prepare it again")

    def _texts(self, start: int, end: int) -> Iterator[str]:
        for number in range(start, end):
            yield from self._batch(number).column("text").to_pylist()

    def _characters_of(self, folder: int) -> Characters:
        if self._characters[folder] is None:
            start, end = self._folder_first_batch[folder : folder + 2]
            self._characters[folder] = find_characters(self._texts(start, end))
        return self._characters[folder]

    def _field(self, column: str, index: int) -> str:
        batch, row = self._locate(index)
        return batch.column(column)[row].as_py()

    def _locate(self, index: int) -> tuple[pa.RecordBatch, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"utterance {index} of {len(self)}")
        index = index % len(self)
        number = int(np.searchsorted(self._batch_first, index, side="right")) - 1
        return self._batch(number), int(index - self._batch_first[number])

    def _batch(self, number: int) -> pa.RecordBatch:
        shard = self._batch_shard[number]
        return _open_shard(*self._shards[shard]).batch(int(number - self._shard_first_batch[shard]))


class _OpenShard:
    def __init__(self, path: str) -> None:
        self._path = path
        try:
            # Not Arrow's own mapping: it advises the system to fetch a whole batch for each utterance read of it, which
            # takes ten times as long as reading.
            with open(path, "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._reader = pa.ipc.open_file(pa.py_buffer(mapped))
        except ValueError as error:  # pa.ArrowInvalid among them
            raise _damaged(path, error) from None
        self._lock = threading.Lock()  # Arrow does not promise that its reader is thread-safe

    def batch(self, number: int) -> pa.RecordBatch:
        with self._lock:
            try:
                return self._reader.get_batch(number)
            except (pa.ArrowInvalid, OSError) as error:
                raise _damaged(self._path, error) from None


def _damaged(path: str, error: Exception) -> ValueError:
    return ValueError(f"{path}: is damaged ({error}); remove the folder and prepare it again")


@lru_cache(maxsize=_OPEN_SHARDS)
def _open_shard(path: str, sha256: str) -> _OpenShard:
    """Opened once a process, whichever `Dataset` asks. The checksum tells apart what lay at one path at two times."""
    return _OpenShard(path)


def read_description(folder: Path) -> dict[str, Any]:
    """`dataset.json`, its `shards` as `Shard`s, its `characters` as `Characters` or None, after a check that all shards
    are there in full. Raises ValueError if not."""
    path = folder / DESCRIPTION
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such dataset; `rnnt prepare` makes one")
    if not path.is_file():
        below = sorted(file.parent.name for file in folder.glob(f"[!.]*/{DESCRIPTION}"))
        mend = f"it holds the splits {', '.join(below)}: name one of them" if below else "`rnnt prepare` makes one"
        raise ValueError(f"{folder}: is not a dataset (it has no {DESCRIPTION}); {mend}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version = description["version"]
        shards = [Shard(**shard) for shard in description["shards"]] if version == VERSION else []
        known = version == VERSION and "characters" in description  # earlier programs did not note them
        characters = Characters(**description["characters"]) if known else None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: cannot be read; remove the folder and prepare it again") from None
    if version != VERSION:
        raise ValueError(f"{path}: has format version {version}, this program reads {VERSION}; prepare it again")
    for shard in shards:
        file = folder / shard.name
        try:
            size = file.stat().st_size
        except FileNotFoundError:
            size = None
        if size != shard.bytes:
            found = "is missing" if size is None else f"has {size} bytes instead of {shard.bytes}"
            raise ValueError(f"{file}: {found}; copy it again, or remove {folder} and prepare it again")
    return {**description, "shards": shards, "characters": characters}


def _read_lengths(folder: Path) -> np.ndarray:
    path = folder / LENGTHS
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); remove {folder} and prepare it again") from None


def write_description(folder: Path, shards: Sequence[Shard], sample_rate: int, **more: Any) -> None:
    """Complete a folder of shards: write the lengths and, last, `dataset.json` with `more` in it."""

    def batches() -> Iterator[pa.RecordBatch]:
        for shard in shards:
            reader = _OpenShard(str(folder / shard.name))
            yield from (reader.batch(number) for number in range(len(shard.batches)))

    num_samples = np.concatenate([np.array(batch.column("num_samples"), np.int32) for batch in batches()])
    characters = find_characters(text for batch in batches() for text in batch.column("text").to_pylist())
    with (folder / LENGTHS).open("wb") as file:
        np.save(file, num_samples, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    description = {
        "version": VERSION,
        "utterances": len(num_samples),
        "hours": float(num_samples.sum(dtype=np.int64)) / sample_rate / 3600,
        "sample_rate": sample_rate,
        **more,
        "characters": asdict(characters),
        "shards": [asdict(shard) for shard in shards],
    }
    write_json(folder / DESCRIPTION, description)
