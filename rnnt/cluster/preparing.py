"""Preparation on a cluster: its workers read utterances and write shards, which are those of `rnnt prepare` to the bit.

Here Ray repeats the task of a worker that dies. It may, because a task gives the same result every time: the samples of
some utterances, or a shard that takes its name when it is whole. All machines must see the corpus and the output.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import ray

from rnnt.cluster.session import require_versions, versions
from rnnt.corpora import Utterance, read_utterance
from rnnt.origin import file_sums
from rnnt.shard import Shard, ShardWriter, StoredUtterance
from rnnt.text import reason

_CHUNK = 8  # utterances of a task
_AHEAD = 3  # chunks for each core, which limits the memory for samples that wait
_TRIES = 3  # of a task whose worker dies, after the first one


@dataclass(frozen=True)
class _Samples:
    """The samples of an utterance, in the memory of some machine: a place in the result of a task."""

    chunk: Any  # reference
    place: int
    nbytes: int


class ClusterReaders:
    """Does on a cluster what `rnnt.readers.Readers` does with processes. Use it while `connected` to Ray."""

    def __init__(self, sample_rate: int):
        self.sample_rate = sample_rate
        self._cores = max(int(ray.cluster_resources().get("CPU", 1)), 1)
        self.shards_ahead = max(self._cores // 4, 1)
        self._sums: list[str] = []

    def __enter__(self) -> ClusterReaders:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: Ray ends its tasks when the connection ends."""

    def read(self, utterances: Iterable[Utterance]) -> Iterator[tuple[Utterance, _Samples | str]]:
        """Yield each utterance, in order, with a stand-in for its samples or the reason why it is left out.

        Raises ChildProcessError if a worker dies again and again, and ValueError if a machine has other versions.
        """
        task = ray.remote(_read_chunk).options(num_returns=2, max_retries=_TRIES, scheduling_strategy="SPREAD")
        remaining = iter(utterances)
        waiting: deque[tuple[list[Utterance], Any, Any]] = deque()
        while True:
            while len(waiting) < self._cores * _AHEAD and (chunk := list(islice(remaining, _CHUNK))):
                waiting.append((chunk, *task.remote(versions(), chunk, self.sample_rate)))
            if not waiting:
                return
            chunk, samples, described = waiting.popleft()
            for place, (utterance, (size, self._sums)) in enumerate(zip(chunk, _result(described))):
                yield utterance, size if isinstance(size, str) else _Samples(samples, place, size)

    def sums(self, utterance: Utterance) -> list[str]:
        """Return the SHA-256 of each file of the utterance that was yielded last."""
        return self._sums

    def writer(self, path: Path, input: str) -> ClusterWriter:
        """Return a writer of a shard of audio."""
        return ClusterWriter(path)


class ClusterWriter:
    """Collects the utterances of a shard; `close` lets a worker write it, and returns a function that waits for it."""

    def __init__(self, path: Path):
        self.bytes = 0
        self._path = path
        self._utterances: list[StoredUtterance] = []

    def add(self, utterance: StoredUtterance) -> None:
        """Append an utterance, whose input is one of `ClusterReaders.read`."""
        self._utterances.append(utterance)
        self.bytes += utterance.input.nbytes

    def close(self) -> Callable[[], Shard]:
        """Start to write the shard."""
        chunks = list(dict.fromkeys(utterance.input.chunk for utterance in self._utterances))
        numbers = {chunk: number for number, chunk in enumerate(chunks)}
        listed = [replace(x, input=(numbers[x.input.chunk], x.input.place)) for x in self._utterances]
        task = ray.remote(_write_shard).options(max_retries=_TRIES, scheduling_strategy="SPREAD")
        written = task.remote(self._path.absolute(), listed, *chunks)
        return lambda: _result(written)

    def abort(self) -> None:
        """Do nothing: no file was begun."""


def _read_chunk(wanted: dict[str, str], utterances: list[Utterance], sample_rate: int) -> tuple[list, list]:
    """Return the samples of utterances, and for each its bytes or why it is left out, and the sums of its files."""
    require_versions(wanted)
    results = [read_utterance(utterance, sample_rate) for utterance in utterances]
    sizes = [result if isinstance(result, str) else result.nbytes for result in results]
    samples = [result if isinstance(result, np.ndarray) else None for result in results]
    return samples, [(size, file_sums(utterance)) for size, utterance in zip(sizes, utterances)]


def _write_shard(path: Path, utterances: list[StoredUtterance], *chunks: list[np.ndarray]) -> Shard:
    """Write a shard. The input of each utterance says which chunk it is in, and where."""
    writer = ShardWriter(path)
    try:
        for utterance in utterances:
            chunk, place = utterance.input
            writer.add(replace(utterance, input=chunks[chunk][place]))
        return writer.close()
    except BaseException:
        writer.abort()
        raise


def _result(reference: Any) -> Any:
    """Return the result of a task. Its own errors are raised as if it had run here."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (ValueError, OSError, TypeError)):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise ChildProcessError(
            f"a worker that prepares audio died {_TRIES + 1} times ({reason(error, 100)}); "
            "run the same command again: it continues where it stopped"
        ) from None
