"""Utterances on disk: a folder of Arrow shards, and `dataset.json` that describes them.

A split, DATA/<split>/, holds:
- `shard-00000.arrow` ...: columns id, text, speaker, and either num_samples, audio (int16 PCM, mono), speech_start and
  speech_end (the part of the audio that is left when silence at the ends is trimmed), or num_symbols and symbols
- `num_samples.npy` or `num_symbols.npy`: int32, the length of each input, so that a dataset opens without touching its
  shards
- `dataset.json`: version, input ("audio" or "symbols"), utterances, hours, sample rate, source, the characters of the
  texts and the places of the rare ones, size and SHA-256 of each shard; of symbols also the numbers of different inputs
  (`words`) and of different symbols in them (`symbols`); of a prepared corpus also `fingerprint`, `dates` and
  `contents`, which tell whether it has changed since then (`rnnt.origin`)
- `skipped.tsv`: id and reason of each utterance that was left out
- `times.jsonl`, if the corpus knows when each symbol was said (`rnnt.known_times`)
"""

import copy
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rnnt.characters import Characters, find_characters
from rnnt.description import audio_hours, read_description, read_lengths, write_description
from rnnt.files import replacing_folder, sha256_of
from rnnt.progress import Display
from rnnt.shard import Shard, ShardReader, ShardWriter, StoredUtterance, open_shard
from rnnt.silence import speech_bounds

SHARD_BYTES = 256 << 20


class Dataset(Sequence[StoredUtterance]):
    """One or several splits on disk, one after the other: `Dataset("data/train-clean-100", "data/train-clean-360")`.

    Reading is safe from several threads, in forked processes, and after pickling. A shard that is damaged, truncated or
    overwritten gives a ValueError that names it, also in the middle of reading. Shards that were replaced by others of
    the same name, or removed, are read as they were while they stay open: make a new Dataset for the new ones.
    Raises ValueError if a folder is missing, is no dataset, lacks (part of) a shard, or if the folders differ in sample
    rate or kind of input.

    Attributes: `input`, "audio" or "symbols"; `lengths`, int32, of each input in samples or symbols; `sample_rate` in
    Hz, 0 for symbols.
    """

    def __init__(self, *folders: str | os.PathLike[str]) -> None:
        if not folders:
            raise ValueError("name at least one dataset folder")
        self.folders = tuple(Path(folder).absolute() for folder in folders)
        descriptions = [read_description(folder) for folder in self.folders]
        self.input: str = descriptions[0]["input"]
        self.sample_rate: int = descriptions[0]["sample_rate"]
        for folder, description in zip(self.folders, descriptions):
            if description["input"] != self.input:
                raise ValueError(f"{folder} holds {description['input']} and {self.folders[0]} {self.input}")
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
        # For each record batch: its first utterance and its shard. For each shard: its first record batch.
        rows = [rows for _, shard in shards for rows in shard.batches]
        self._batch_first = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
        self._batch_shard = np.repeat(np.arange(len(shards), dtype=np.int32), [len(s.batches) for _, s in shards])
        self._shard_first_batch = np.searchsorted(self._batch_shard, np.arange(len(shards)))
        # For each folder: its first record batch, and the characters of its texts (None: an earlier version wrote it).
        sizes = [sum(len(shard.batches) for shard in description["shards"]) for description in descriptions]
        self._folder_first_batch = np.cumsum([0, *sizes])
        self._characters: list[Characters | None] = [description.get("characters") for description in descriptions]
        self.lengths: np.ndarray = np.concatenate(list(map(read_lengths, self.folders, descriptions)))
        self._chosen: np.ndarray | None = None  # of a subset: the places of its utterances
        self._change: Callable[[StoredUtterance], StoredUtterance] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def sizes(self) -> np.ndarray:
        """The size of each input, (n,): seconds of audio, or the number of symbols."""
        return self.lengths / (self.sample_rate or 1)

    @property
    def hours(self) -> float:
        """Hours of audio; 0 for symbols."""
        return audio_hours(self.lengths, self.sample_rate)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the utterances and their order, found without reading them.

        It is made of the checksums of the shards, so that a copied or renamed folder keeps its fingerprint. A change of
        an input, a text, an id or a speaker changes it.
        """
        sha256 = hashlib.sha256(f"{self.input} {self.sample_rate}\n".encode())
        for _, checksum in self._shards:
            sha256.update(f"{checksum}\n".encode())
        if self._chosen is not None:
            sha256.update(self._chosen.tobytes())
        return sha256.hexdigest()

    def subset(self, indices: Sequence[int] | np.ndarray) -> "Dataset":
        """Return a dataset of some of these utterances, in the given order. Nothing is copied but their lengths."""
        indices = np.asarray(indices, np.int64)
        chosen = copy.copy(self)
        chosen.lengths = self.lengths[indices]
        places = np.arange(len(self)) if self._chosen is None else self._chosen
        chosen._chosen = places[indices]
        return chosen

    def changed(self, change: Callable[[StoredUtterance], StoredUtterance]) -> "Dataset":
        """Return a dataset of the same utterances whose audio is changed when it is read. It keeps its length."""
        changed = copy.copy(self)
        changed._change = change
        return changed

    def __getitem__(self, index: int) -> StoredUtterance:
        """Read one utterance."""
        return self.read(index)[0]

    def read(self, index: int, trim: bool = False) -> tuple[StoredUtterance, int]:
        """Read one utterance, and the number of samples that were removed before its first one.

        trim: remove the silence at both ends of its audio.
        """
        shard, batch, row = self._locate(index)
        given = shard.symbols(batch, row) if self.input == "symbols" else shard.audio(batch, row)
        if len(given) != self.lengths[index]:
            raise shard.damaged("an input is not as long as the list of lengths says")
        identity, text, speaker = (shard.text(column, batch, row) for column in ("id", "text", "speaker"))
        if self._change:
            given = self._change(StoredUtterance(identity, given, text, speaker)).input
        start = 0
        if trim and self.input == "audio":
            # An earlier version did not store the bounds, and they are those of the audio as it was.
            stored = shard.has_speech_bounds and not self._change
            start, end = shard.speech(batch, row, len(given)) if stored else speech_bounds(given)
            given = given[start:end]
        return StoredUtterance(identity, given, text, speaker), start

    def id(self, index: int) -> str:
        """Return the id of an utterance."""
        return self._field("id", index)

    def text(self, index: int) -> str:
        """Return the text of an utterance, without reading its input."""
        return self._field("text", index)

    def speaker(self, index: int) -> str:
        """Return the speaker of an utterance, "" if it is not known."""
        return self._field("speaker", index)

    def inputs(self) -> Iterator[np.ndarray | list[str]]:
        """Yield all inputs in order."""
        return (self[index].input for index in range(len(self)))

    def texts(self) -> Iterator[str]:
        """Yield all texts in order."""
        if self._chosen is None:
            return self._texts(0, len(self._batch_shard))
        return map(self.text, range(len(self)))

    def characters(self) -> set[str]:
        """Return all characters of the texts."""
        if self._chosen is not None:
            return set(chain.from_iterable(self.texts()))
        return {character for folder in range(len(self.folders)) for character in self._characters_of(folder)}

    def holding(self, characters: Collection[str]) -> Iterator[int]:
        """Yield the utterances with any of these characters in their texts, in order.

        The texts of a folder are read only if one of the characters is common there, or if an earlier version prepared
        it; those of a subset always.
        """
        wanted = set(characters)
        if self._chosen is not None:
            yield from (i for i, text in enumerate(self.texts()) if not wanted.isdisjoint(text))
            return
        for folder, (start, end) in enumerate(pairwise(self._folder_first_batch)):
            places = self._characters_of(folder).holding(wanted)
            if places is None:
                places = (i for i, text in enumerate(self._texts(start, end)) if not wanted.isdisjoint(text))
            yield from (int(self._batch_first[start]) + place for place in places)

    def verify(self) -> None:
        """Read every shard, compare its SHA-256, and compare lengths and characters with what was noted of them.

        Raises ValueError that names the damaged files.
        """
        damaged: list[str] = []
        with Display() as display:
            task = display.task(f"verifying {self.folders[0]}", len(self._shards), "shards")
            for done, (path, sha256) in enumerate(self._shards, 1):
                try:
                    if sha256_of(Path(path)) != sha256:
                        damaged.append(path)
                except OSError as error:  # the disk fails
                    damaged.append(f"{path} ({error.strerror})")
                task.update(done)
            task.remove()
        damaged = damaged or list(self._inconsistent())
        if damaged:
            mend = "copy them again, or remove the folder and prepare it again"
            raise ValueError(f"damaged: {', '.join(damaged)}; {mend}")

    def _inconsistent(self) -> Iterator[str]:
        """Yield the folders whose lengths or characters are not those of their shards."""
        lengths = np.concatenate(list(map(read_lengths, self.folders, map(read_description, self.folders))))
        for folder, (start, end) in enumerate(pairwise(self._folder_first_batch)):
            batches = [self._batch(number) for number in range(start, end)]
            expected = np.concatenate([shard.lengths(batch) for shard, batch in batches])
            found = lengths[self._batch_first[start] : self._batch_first[end]]
            noted = self._characters[folder]
            if not np.array_equal(found, expected):
                yield f"{self.folders[folder]} (its lengths are not those of its shards)"
            elif noted is not None and noted != find_characters(self._texts(start, end)):
                yield f"{self.folders[folder]} (its characters are not those of its shards)"

    def _texts(self, start: int, end: int) -> Iterator[str]:
        for number in range(start, end):
            shard, batch = self._batch(number)
            yield from shard.texts("text", batch)

    def _characters_of(self, folder: int) -> Characters:
        if self._characters[folder] is None:
            start, end = self._folder_first_batch[folder : folder + 2]
            self._characters[folder] = find_characters(self._texts(start, end))
        return self._characters[folder]

    def _field(self, column: str, index: int) -> str:
        shard, batch, row = self._locate(index)
        return shard.text(column, batch, row)

    def _locate(self, index: int) -> tuple[ShardReader, int, int]:
        """Return an utterance's shard, its record batch in it and its row in that."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"utterance {index} of {len(self)}")
        index = index % len(self)
        if self._chosen is not None:
            index = self._chosen[index]
        number = int(np.searchsorted(self._batch_first, index, side="right")) - 1
        return *self._batch(number), int(index - self._batch_first[number])

    def _batch(self, number: int) -> tuple[ShardReader, int]:
        """Return the shard of a record batch and its number in it."""
        place = self._batch_shard[number]
        path, sha256 = self._shards[place]
        shard = open_shard(path, sha256)
        shard.require_unchanged(sha256)
        batch = int(number - self._shard_first_batch[place])
        rows = self._batch_first[number + 1] - self._batch_first[number]
        if shard.input != self.input or batch >= len(shard.rows) or shard.rows[batch] != rows:
            raise shard.damaged("it does not hold the utterances that dataset.json says")
        return shard, batch


def write_split(
    folder: Path,
    utterances: Iterable[StoredUtterance],
    sample_rate: int = 16000,
    shard_bytes: int = SHARD_BYTES,
    **more: Any,
) -> None:
    """Write a dataset of utterances that are in memory. The folder is there in full afterwards or, on an error, not.

    All inputs are audio at `sample_rate`, or all are lists of symbols (then the rate means nothing). `more` goes into
    `dataset.json`. To convert a corpus in parallel, and resume if killed, use `rnnt.prepare`.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "train"
    >>> write_split(folder, [StoredUtterance("1", ["c", "a", "t"], "K AE T")], source="made up")
    >>> Dataset(folder)[0].input
    ['c', 'a', 't']
    """
    utterances = iter(utterances)
    if folder.exists():
        raise ValueError(f"{folder} exists; remove it or choose another folder")
    first = next(utterances, None)
    if first is None:
        raise ValueError(f"{folder}: a split needs at least one utterance")
    input = "audio" if isinstance(first.input, np.ndarray) else "symbols"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as partial:
        shards: list[Shard] = []
        writer = None
        for utterance in chain([first], utterances):
            writer = writer or ShardWriter(partial / f"shard-{len(shards):05d}.arrow", input)
            writer.add(utterance)
            if writer.bytes >= shard_bytes:
                shards.append(writer.close())
                writer = None
        if writer:
            shards.append(writer.close())
        write_description(partial, shards, sample_rate if input == "audio" else 0, input, **more)
