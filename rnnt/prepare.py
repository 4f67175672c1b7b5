"""A raw corpus becomes datasets: audio is decoded on all cores and written once, in a way that survives being killed.

A split is built in `OUT/.<split>.partial/` and renamed when it is whole. After each shard, `progress.json` there says
how far the list of utterances has come, so that the same command, run again, continues after the last whole shard.
"""

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from rnnt.corpora import Split, Utterance
from rnnt.dataset import (
    DESCRIPTION,
    SKIPPED,
    VERSION,
    read_description,
    write_description,
)
from rnnt.files import locked, sync_folder, write_json
from rnnt.progress import track
from rnnt.shard import Shard, ShardWriter, StoredUtterance
from rnnt.text import one_line

MIN_SECONDS = 0.1

_PROGRESS = "progress.json"
_LOCK = "lock"
_CHUNK = 8  # utterances a worker gets at once
_CHUNKS_AHEAD = 3  # for each worker: bounds what lies decoded in memory


@dataclass(frozen=True)
class Summary:
    """What became of a split."""

    folder: Path
    utterances: int
    hours: float
    skipped: int  # listed with reasons in skipped.tsv
    already_prepared: bool = False


@dataclass
class _Progress:
    """How far a split has come: all that a rerun needs to continue after the last whole shard."""

    fingerprint: str
    consumed: int = 0  # utterances of the source that are written or skipped
    skipped: int = 0
    skipped_bytes: int = 0  # length of skipped.tsv then
    shards: list[Shard] = field(default_factory=list)


def prepare(
    splits: dict[str, Split],
    out: Path,
    sample_rate: int = 16000,
    workers: int | None = None,
    source: str = "",
    shard_bytes: int = 256 << 20,
) -> dict[str, Summary]:
    """Write every split to `out/<split>` at `sample_rate`, decoding in `workers` processes (default: all cores).

    The result does not depend on `workers`. Utterances that cannot be read, have no text or are shorter than 0.1 s are
    left out and listed in `skipped.tsv`. A split that is there already, of the same utterances, is left alone.
    Raises ValueError if another split of that name is there or no utterance of a split is usable; OSError if the disk
    is full or a worker dies, after which the same call continues.
    """
    if sample_rate < 1000 or shard_bytes < 1 or (workers is not None and workers < 1):
        raise ValueError("sample_rate must be at least 1000 Hz, shard_bytes and workers at least 1")
    for name, split in splits.items():
        if not name or name.startswith(".") or Path(name).name != name:
            raise ValueError(f"{name!r} cannot be the name of a split: it names a folder")
        if not len(split.utterances):
            reasons = "".join(f"; {identity}: {reason}" for identity, reason in split.problems[:3])
            raise ValueError(f"split {name!r} has no utterances{reasons}")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with _Decoder(sample_rate, workers or _cores()) as decoder:
        return {name: _prepare_split(name, split, out, decoder, source, shard_bytes) for name, split in splits.items()}


def _prepare_split(name: str, split: Split, out: Path, decoder: "_Decoder", source: str, shard_bytes: int) -> Summary:
    fingerprint = _fingerprint(split, decoder.sample_rate, shard_bytes)
    final, partial = out / name, out / f".{name}.partial"
    if final.exists():
        return _finished(final, fingerprint)
    partial.mkdir(exist_ok=True)
    with locked(partial / _LOCK, f"{partial}: another process is preparing this split"):
        progress = _resume(partial, fingerprint)
        try:
            _write_shards(name, split, partial, progress, decoder, shard_bytes)
            if progress.shards:
                more = {"source": source, "skipped": progress.skipped, "fingerprint": fingerprint}
                write_description(partial, progress.shards, decoder.sample_rate, **more)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                error.errno,
                f"the disk of {out} is full; make room and run the same command again: "
                f"it continues after the last whole shard of {name!r} ({len(progress.shards)} so far)",
            ) from None
        if not progress.shards:
            lines = (partial / SKIPPED).read_text(encoding="utf-8").splitlines()[1:4]
            shutil.rmtree(partial)
            raise ValueError(f"no utterance of split {name!r} is usable: {'; '.join(lines)}".replace("\t", ": "))
        os.rename(partial, final)
        sync_folder(out)
    _remove_traces(final)
    return _summary(final)


def _write_shards(
    name: str, split: Split, partial: Path, progress: _Progress, decoder: "_Decoder", shard_bytes: int
) -> None:
    """Write the shards that are still missing, and bring `progress` forward, in memory and on disk, after each."""
    utterances = split.utterances
    remaining = (utterances[i] for i in range(progress.consumed, len(utterances)))
    consumed, skipped = progress.consumed, progress.skipped
    writer = None
    with (partial / SKIPPED).open("r+b") as skips:
        skips.seek(progress.skipped_bytes)

        def skip(identity: str, reason: str) -> None:
            nonlocal skipped
            skips.write(f"{one_line(identity)}\t{one_line(reason)}\n".encode())
            skipped += 1

        def finish_shard() -> None:
            shards = [*progress.shards, writer.close()] if writer else progress.shards
            skips.flush()
            os.fsync(skips.fileno())
            done = _Progress(progress.fingerprint, consumed, skipped, skips.tell(), shards)
            write_json(partial / _PROGRESS, asdict(done))
            progress.__dict__.update(vars(done))

        if progress.skipped_bytes == 0:
            skips.write(b"id\treason\n")
            for problem in split.problems:
                skip(*problem)
        try:
            total = len(utterances) - consumed
            for utterance, decoded in track(decoder.run(remaining), total, name):
                consumed += 1
                if isinstance(decoded, str):
                    skip(utterance.id, decoded)
                    continue
                if writer is None:
                    writer = ShardWriter(partial / f"shard-{len(progress.shards):05d}.arrow")
                writer.add(StoredUtterance(utterance.id, decoded, one_line(utterance.text), utterance.speaker))
                if writer.bytes >= shard_bytes:
                    finish_shard()
                    writer = None
            finish_shard()
        except BaseException:
            if writer is not None:
                writer.abort()
            raise


def _cores() -> int:
    """The cores that this process may use, which a container or a batch system may have made fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Decoder:
    """Reads utterances in a pool of processes, in order, a bounded number ahead; in this process for one worker."""

    def __init__(self, sample_rate: int, workers: int) -> None:
        self.sample_rate = sample_rate
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "_Decoder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def run(self, utterances: Iterator[Utterance]) -> Iterator[tuple[Utterance, np.ndarray | str]]:
        """Each utterance with its samples, or with the reason why it has none."""
        if self._workers == 1:
            for utterance in utterances:
                yield utterance, _decode(utterance, self.sample_rate)
            return
        waiting: deque[tuple[list[Utterance], Future]] = deque()
        try:
            while True:
                while len(waiting) < self._workers * _CHUNKS_AHEAD and (chunk := _take(utterances, _CHUNK)):
                    waiting.append((chunk, self._started().submit(_decode_all, chunk, self.sample_rate)))
                if not waiting:
                    return
                chunk, future = waiting.popleft()
                yield from zip(chunk, future.result())
        except BrokenProcessPool:
            raise ChildProcessError(
                "a process that decodes audio was killed, perhaps for lack of memory; "
                "run the same command again, with fewer workers if that is the reason: it continues where it stopped"
            ) from None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Never plain fork: the threads of this process would leave locks behind in the children.
            methods = multiprocessing.get_all_start_methods()
            context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
            if "forkserver" in methods:
                context.set_forkserver_preload([__name__])
            self._pool = ProcessPoolExecutor(self._workers, context, initializer=_start_worker)
        return self._pool


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()

    def leave_with_parent() -> None:  # a parent killed outright would leave its workers waiting for ever
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


def _take(utterances: Iterator[Utterance], count: int) -> list[Utterance]:
    return [utterance for _, utterance in zip(range(count), utterances)]


def _decode_all(utterances: list[Utterance], sample_rate: int) -> list[np.ndarray | str]:
    return [_decode(utterance, sample_rate) for utterance in utterances]


def _decode(utterance: Utterance, sample_rate: int) -> np.ndarray | str:
    """The samples, or why the utterance is left out."""
    if not utterance.text.strip():
        return "the text is empty"
    try:
        samples = utterance.read(sample_rate)
    except Exception as error:  # whatever is wrong with one utterance must not stop the others
        return one_line(str(error)) or type(error).__name__
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise TypeError(f"{utterance.id}: read() gave {samples.dtype} of shape {samples.shape}, expected int16 (N,)")
    if len(samples) < MIN_SECONDS * sample_rate:
        return f"only {len(samples) / sample_rate:.3f} s long, the minimum is {MIN_SECONDS} s"
    return samples


def _fingerprint(split: Split, sample_rate: int, shard_bytes: int) -> str:
    """Tells whether two preparations are of the same utterances."""
    sha256 = hashlib.sha256(f"{VERSION} {sample_rate} {shard_bytes}\n".encode())
    for utterance in split.utterances:
        sha256.update(json.dumps([utterance.id, utterance.text, utterance.speaker]).encode())
    for problem in split.problems:
        sha256.update(json.dumps(problem).encode())
    return sha256.hexdigest()


def _finished(final: Path, fingerprint: str) -> Summary:
    """The summary of a split that is there already, if it is the same."""
    if not (final / DESCRIPTION).is_file():
        raise ValueError(f"{final} exists and is not a dataset; choose another --out")
    if read_description(final).get("fingerprint") != fingerprint:
        raise ValueError(f"{final} holds other utterances or another sample rate; remove it or choose another --out")
    _remove_traces(final)
    return _summary(final, already_prepared=True)


def _remove_traces(final: Path) -> None:
    """Remove what only an unfinished split needs; after the renaming, as a run may be killed between the two."""
    for name in (_PROGRESS, _LOCK):
        (final / name).unlink(missing_ok=True)


def _summary(final: Path, already_prepared: bool = False) -> Summary:
    description = read_description(final)
    return Summary(final, description["utterances"], description["hours"], description["skipped"], already_prepared)


def _resume(partial: Path, fingerprint: str) -> _Progress:
    """The progress of an earlier run of the same preparation; everything else in the folder is removed."""
    progress = _Progress(fingerprint)
    path = partial / _PROGRESS
    if path.is_file():
        saved = json.loads(path.read_text(encoding="utf-8"))
        shards = [Shard(**shard) for shard in saved["shards"]]
        sizes = {file.name: file.stat().st_size for file in partial.iterdir()}
        if saved["fingerprint"] == fingerprint and all(sizes.get(shard.name) == shard.bytes for shard in shards):
            progress = _Progress(**{**saved, "shards": shards})
    keep = {shard.name for shard in progress.shards} | {SKIPPED, _PROGRESS, _LOCK}
    for file in partial.iterdir():
        if file.name not in keep:
            file.unlink()
    with (partial / SKIPPED).open("ab") as skips:
        skips.truncate(progress.skipped_bytes)
    return progress
