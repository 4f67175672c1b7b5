"""`dataset.json` and the lengths of a split: read with every doubt, and written when its shards are complete."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rnnt.characters import Characters, find_characters
from rnnt.files import sync_file, write_json
from rnnt.shard import LENGTH_COLUMNS, Shard, ShardReader

VERSION = 1
DESCRIPTION = "dataset.json"


def read_description(folder: Path) -> dict[str, Any]:
    """Read `dataset.json` and check that all shards are there in full; raises ValueError if not.

    In the result `shards` are `Shard`s, `characters` is a `Characters` or None, and `input` is always there.
    """
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
    return {"input": "audio", **description, "shards": shards, "characters": characters}


def _lengths_file(input: str) -> str:
    return f"{LENGTH_COLUMNS[input]}.npy"


def read_lengths(folder: Path, input: str) -> np.ndarray:
    """Read the length of each input, int32. Raises ValueError if the file is missing or damaged."""
    path = folder / _lengths_file(input)
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); remove {folder} and prepare it again") from None


def audio_hours(lengths: np.ndarray, sample_rate: int) -> float:
    """Return the hours of inputs of these lengths; 0 for symbols, which have no sample rate."""
    return float(lengths.sum(dtype=np.int64)) / sample_rate / 3600 if sample_rate else 0.0


def write_description(
    folder: Path, shards: Sequence[Shard], sample_rate: int, input: str = "audio", **more: Any
) -> None:
    """Complete a folder of shards: write the lengths and, last, `dataset.json` with `more` in it."""

    readers = [ShardReader(str(folder / shard.name)) for shard in shards]
    batches = [(reader, number) for reader in readers for number in range(len(reader.rows))]
    lengths = np.concatenate([reader.lengths(number) for reader, number in batches])
    characters = find_characters(text for reader, number in batches for text in reader.texts("text", number))
    with (folder / _lengths_file(input)).open("wb") as file:
        np.save(file, lengths, allow_pickle=False)
        sync_file(file)
    description = {
        "version": VERSION,
        "input": input,
        "utterances": len(lengths),
        "hours": audio_hours(lengths, sample_rate),
        "sample_rate": sample_rate,
        "source": "",
        **more,
        "characters": asdict(characters),
        "shards": [asdict(shard) for shard in shards],
    }
    write_json(folder / DESCRIPTION, description)
