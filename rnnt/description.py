"""`dataset.json` and the lengths of a split: read with every doubt, and written when its shards are complete."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rnnt.characters import Characters, find_characters
from rnnt.files import naming, sync_file, write_json
from rnnt.shard import LENGTH_COLUMNS, Shard, ShardReader
from rnnt.text import one_line

VERSION = 1
DESCRIPTION = "dataset.json"
_COUNTS = ("skipped", "words", "symbols")  # utterances left out; different inputs and symbols in them (0 for audio)
_ORIGIN = ("fingerprint", "dates", "contents")  # of the utterances and files that a split is made of


def read_description(folder: Path) -> dict[str, Any]:
    """Read `dataset.json` and check that all shards are there in full; raises ValueError if not.

    In the result `shards` are `Shard`s, `characters` is a `Characters` or None, and what earlier versions did not note
    has a value that says so.
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
        _require(not isinstance(version, (bool, list, dict)), "version")
        if version == VERSION:
            description = _checked(description)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read ({_short(error)}); {renew(folder)}") from None
    if version != VERSION:
        raise ValueError(f"{path}: has format version {version!r:.20}, this program reads {VERSION}; {renew(folder)}")
    for shard in description["shards"]:
        file = folder / shard.name
        try:
            size = file.stat().st_size
        except FileNotFoundError:
            size = None
        if size != shard.bytes:
            found = "is missing" if size is None else f"has {size} bytes instead of {shard.bytes}"
            raise ValueError(f"{file}: {found}; copy it again, or {renew(folder, description['source'])}")
    return description


def _checked(description: dict[str, Any]) -> dict[str, Any]:
    """Return a description with `Shard`s and `Characters`. An error of any kind says what is wrong with it."""
    counts = dict.fromkeys(_COUNTS, 0)
    later = {"input": "audio", "source": "", **counts, **dict.fromkeys(_ORIGIN, "")}  # earlier versions lack some
    description = later | description
    shards = [Shard(**shard) for shard in description["shards"]]
    names = [shard.name for shard in shards]
    for shard in shards:
        _require(isinstance(shard.name, str) and re.fullmatch(r"shard-\d{5,9}\.arrow", shard.name), "name")
        _require(_is_count(shard.bytes) and isinstance(shard.sha256, str), "bytes or sha256")
        _require(isinstance(shard.batches, list) and all(_is_count(rows) and rows for rows in shard.batches), "batches")
    _require(shards and len(set(names)) == len(names), "shards")
    _require(description["input"] in LENGTH_COLUMNS, "input")
    rate = description["sample_rate"]
    _require(_is_count(rate) and rate < 10_000_000 and (rate > 0) == (description["input"] == "audio"), "sample_rate")
    _require(description["utterances"] == sum(sum(shard.batches) for shard in shards), "utterances")
    hours = description["hours"]
    _require(isinstance(hours, (int, float)) and not isinstance(hours, bool) and 0 <= hours < 1e9, "hours")
    for name in _COUNTS:
        _require(_is_count(description[name]), name)
    _require((description["words"] > 0) == (description["input"] == "symbols"), "words")
    for name in ("source", *_ORIGIN):
        _require(isinstance(description[name], str), name)
    characters = None  # earlier versions did not note them
    if description.get("characters") is not None:
        characters = Characters(**description["characters"])
        _require(isinstance(characters.common, str) and isinstance(characters.rare, dict), "characters")
        count = description["utterances"]
        for character, places in characters.rare.items():
            within = isinstance(places, list) and all(_is_count(place) and place < count for place in places)
            _require(len(character) == 1 and within, "characters")
    return {**description, "shards": shards, "characters": characters}


def _require(holds: object, name: str) -> None:
    if not holds:
        raise ValueError(f"its {name} cannot be")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _short(error: Exception) -> str:
    return f"{error!r:.100}" if isinstance(error, (KeyError, TypeError, AttributeError)) else f"{error!s:.100}"


def renew(folder: Path, source: str = "") -> str:
    """Return how a prepared split is made again; `source`, as `dataset.json` has it, names its corpus."""
    return f"remove {folder} and run `rnnt prepare {source or 'CORPUS SOURCE'} --out {folder.parent}` again"


def _lengths_file(input: str) -> str:
    return f"{LENGTH_COLUMNS[input]}.npy"


def read_lengths(folder: Path, description: dict[str, Any]) -> np.ndarray:
    """Read the length of each input, int32. Raises ValueError if the file is missing or does not fit the shards."""
    path = folder / _lengths_file(description["input"])
    shards = description["shards"]
    try:
        lengths = np.load(path, allow_pickle=False)
        if not isinstance(lengths, np.ndarray) or (lengths.dtype, lengths.ndim) != (np.int32, 1):
            raise ValueError("it is no list of lengths")
    except Exception as error:  # NumPy raises errors of many kinds for a damaged header
        mend = renew(folder, description["source"])
        raise ValueError(f"{path}: cannot be read ({one_line(str(error)):.100}); {mend}") from None
    size = sum(shard.bytes for shard in shards)
    total = int(lengths.sum(dtype=np.int64)) * (2 if description["input"] == "audio" else 1)
    if len(lengths) != description["utterances"] or lengths.min() < 0 or total > size:
        raise ValueError(f"{path}: does not fit the shards; {renew(folder, description['source'])}")
    return lengths


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
    path = folder / _lengths_file(input)
    with naming(path), path.open("wb") as file:
        np.save(file, lengths, allow_pickle=False)
        sync_file(file)
    description = {
        "version": VERSION,
        "input": input,
        "utterances": len(lengths),
        **(_count_words(batches) if input == "symbols" else {}),
        "hours": audio_hours(lengths, sample_rate),
        "sample_rate": sample_rate,
        "source": "",
        **more,
        "characters": asdict(characters),
        "shards": [asdict(shard) for shard in shards],
    }
    write_json(folder / DESCRIPTION, description)


def _count_words(batches: Sequence[tuple[ShardReader, int]]) -> dict[str, int]:
    """Return the numbers of different inputs and of different symbols in them."""
    words: set[int] = set()  # hashes, which take less memory
    symbols: set[str] = set()
    for reader, number in batches:
        for word in reader.words(number):
            words.add(hash(tuple(word)))
            symbols.update(word)
    return {"words": len(words), "symbols": len(symbols)}
