"""Turns a raw corpus into datasets: audio is decoded once, on all cores. A run that was killed can be continued.

A split is built in `OUT/.<split>.partial/`, which is renamed when the split is complete. After each shard,
`progress.json` in it notes how many utterances are done, so that the same command, run again, continues after the
last complete shard.
"""

import errno
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rnnt.corpora import Split
from rnnt.description import DESCRIPTION, VERSION, read_description, renew, write_description
from rnnt.files import locked, naming, sync_file, sync_folder, write_json
from rnnt.known_times import write_times
from rnnt.origin import Origin, add_contents, file_sums, find_origin
from rnnt.progress import Display, track
from rnnt.readers import Readers
from rnnt.shard import Shard, ShardWriter, StoredUtterance
from rnnt.text import one_line, read_lines, read_text, tsv_line

SKIPPED = "skipped.tsv"

_PROGRESS = "progress.json"
_LOCK = "lock"


@dataclass(frozen=True)
class Summary:
    """A prepared split in numbers."""

    folder: Path
    utterances: int
    hours: float  # 0 for symbols
    words: int  # different inputs; 0 for audio
    skipped: int  # utterances left out; skipped.tsv lists them with reasons
    already_prepared: bool = False


@dataclass(frozen=True)
class _Progress:
    """The state of an unfinished split: everything that a second run needs to continue after the last shard."""

    origin: Origin
    contents: str = ""  # SHA-256 of the files of these utterances
    consumed: int = 0  # utterances of the corpus that are written or skipped
    skipped: int = 0
    skipped_bytes: int = 0  # length of skipped.tsv at that point
    shards: list[Shard] = field(default_factory=list)


def prepare(
    splits: dict[str, Split],
    out: Path,
    sample_rate: int = 16000,
    workers: int | None = None,
    source: str = "",
    shard_bytes: int = 256 << 20,
    readers: Readers | None = None,
) -> dict[str, Summary]:
    """Write every split to `out/<split>` at `sample_rate`, decoding in `workers` processes (default: all cores).

    Splits of symbols are read in this process, and the sample rate means nothing for them. readers: in place of these
    processes.

    The result does not depend on `workers`. Utterances that cannot be read, have no text or are shorter than 0.1 s are
    left out and listed in `skipped.tsv`. A split that was already prepared from the same utterances and audio, with the
    same settings, is left unchanged; see `rnnt.origin`.
    Raises ValueError if a different split of that name exists or no utterance of a split is usable. Raises OSError if
    the disk is full or a worker dies; the same call then continues.
    """
    if sample_rate < 1000 or shard_bytes < 1 or (workers is not None and workers < 1):
        raise ValueError("sample_rate must be at least 1000 Hz, shard_bytes and workers at least 1")
    for name, split in splits.items():
        if not name or name.startswith(".") or Path(name).name != name:
            raise ValueError(f"{name!r} cannot be the name of a split: it names a folder")
        if not len(split.utterances):
            reasons = "".join(f"; {identity}: {problem}" for identity, problem in split.problems[:3])
            raise ValueError(f"split {name!r} has no utterances{reasons}")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with readers or Readers(sample_rate, workers) as readers:
        symbols = Readers(sample_rate=0, workers=1)  # nothing has to be decoded
        return {
            name: _prepare_split(
                name, split, out, symbols if split.input == "symbols" else readers, source, shard_bytes
            )
            for name, split in splits.items()
        }


def _prepare_split(name: str, split: Split, out: Path, readers: Readers, source: str, shard_bytes: int) -> Summary:
    origin = find_origin(split, VERSION, readers.sample_rate, shard_bytes)
    final, partial = out / name, out / f".{name}.partial"
    if final.exists():
        return _finished(final, split, origin, source, (readers.sample_rate, shard_bytes))
    partial.mkdir(exist_ok=True)
    with locked(partial / _LOCK, f"{partial}: another process is preparing this split"):
        progress = _saved_progress(partial, origin)
        _remove_leftovers(partial, progress)
        try:
            with naming(partial):
                for saved in _write_shards(name, split, partial, progress, readers, shard_bytes):
                    progress = saved  # also for the error message below
                if progress.shards:
                    write_times(partial, split.utterances, progress.shards)
                    more = {"source": source, "skipped": progress.skipped, "contents": progress.contents}
                    more |= asdict(origin)
                    write_description(partial, progress.shards, readers.sample_rate, split.input, **more)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                error.errno,
                f"the disk of {out} is full; make room and run the same command again: "
                f"it continues after the last whole shard of {name!r} ({len(progress.shards)} so far)",
            ) from None
        if not progress.shards:
            first = read_lines(partial / SKIPPED)[1:-1][:3]
            shutil.rmtree(partial)
            raise ValueError(f"no utterance of split {name!r} is usable: {'; '.join(first)}".replace("\t", ": "))
        os.rename(partial, final)
        sync_folder(out)
    _remove_traces(final)
    return _summary(final)


def _write_shards(
    name: str, split: Split, partial: Path, progress: _Progress, readers: Readers, shard_bytes: int
) -> Iterator[_Progress]:
    """Write the shards that are missing. After each one, note the progress on the disk and yield it."""
    utterances = split.utterances
    remaining = (utterances[i] for i in range(progress.consumed, len(utterances)))
    consumed, skipped, shards = progress.consumed, progress.skipped, progress.shards
    contents = progress.contents
    closing: deque[tuple[Shard | Callable[[], Shard], tuple]] = deque()  # shards, each with the progress after it
    writer = None
    with (partial / SKIPPED).open("r+b") as skips:
        skips.seek(progress.skipped_bytes)

        def skip(identity: str, problem: str) -> None:
            nonlocal skipped
            skips.write(tsv_line(identity, problem).encode())
            skipped += 1

        def close(writer: ShardWriter) -> None:
            sync_file(skips)  # first, so that the noted length is never more than what is on the disk
            state = contents, consumed, skipped, skips.tell()
            closing.append((writer.close(), state))

        def save(shards: list[Shard], *state: Any) -> _Progress:
            saved = _Progress(progress.origin, *state, shards)
            write_json(partial / _PROGRESS, asdict(saved))
            return saved

        def written(ahead: int) -> Iterator[_Progress]:
            nonlocal shards
            while len(closing) > ahead:
                shard, state = closing.popleft()
                shards = [*shards, shard if isinstance(shard, Shard) else shard()]
                yield save(shards, *state)

        if progress.skipped_bytes == 0:
            skips.write(b"id\treason\n")
            for problem in split.problems:
                skip(*problem)
        try:
            total = len(utterances) - consumed
            for utterance, result in track(readers.read(remaining), total, name):
                consumed += 1
                if split.input == "audio":
                    contents = add_contents(contents, readers.sums(utterance))
                if isinstance(result, str):
                    skip(utterance.id, result)
                    continue
                if writer is None:
                    number = len(shards) + len(closing)
                    writer = readers.writer(partial / f"shard-{number:05d}.arrow", split.input)
                writer.add(StoredUtterance(utterance.id, result, one_line(utterance.text), utterance.speaker))
                if writer.bytes >= shard_bytes:
                    close(writer)
                    writer = None
                    yield from written(readers.shards_ahead)
            if writer is not None:
                close(writer)
                writer = None
            yield from written(0)
            sync_file(skips)
            yield save(shards, contents, consumed, skipped, skips.tell())
        finally:
            if writer is not None:  # an error: the shard is incomplete
                writer.abort()


def _finished(final: Path, split: Split, origin: Origin, source: str, settings: tuple[int, int]) -> Summary:
    """Return the summary of a split that exists already. Raises ValueError if it holds something else.

    settings: the sample rate and the size of a shard.
    """
    if not (final / DESCRIPTION).is_file():
        raise ValueError(f"{final} exists and is not a dataset; choose another --out")
    description = read_description(final)
    mend = renew(final, source)
    if not description["dates"] and description["fingerprint"] == _earlier_fingerprint(split, *settings):
        text = f"{final}: an earlier version prepared it and did not note the audio; if that has changed, {mend}"
        with Display() as display:
            display.note(text)
    elif description["fingerprint"] != origin.fingerprint or (
        description["dates"] != origin.dates and not _same_contents(final, split, description["contents"], origin.dates)
    ):
        raise ValueError(
            f"{final} holds other utterances, other audio or another sample rate; choose another --out, or {mend}"
        )
    _remove_traces(final)
    return _summary(final, already_prepared=True)


def _same_contents(final: Path, split: Split, contents: str, dates: str) -> bool:
    """Whether a split's files hold what they held when it was prepared. If so, their dates are noted."""
    found = ""
    for utterance in track(split.utterances, len(split.utterances), f"{final.name}: comparing files"):
        found = add_contents(found, file_sums(utterance))
    if found != contents:
        return False
    with suppress(OSError):  # the split may be on a disk that can only be read
        path = final / DESCRIPTION
        write_json(path, json.loads(read_text(path)) | {"dates": dates})
    return True


def _earlier_fingerprint(split: Split, sample_rate: int, shard_bytes: int) -> str:
    """Return what earlier versions noted as the fingerprint of a split: nothing of the audio is in it."""
    sha256 = hashlib.sha256(f"{VERSION} {sample_rate} {shard_bytes}\n".encode())
    for utterance in split.utterances:
        sha256.update(json.dumps([utterance.id, utterance.text, utterance.speaker]).encode())
    for problem in split.problems:
        sha256.update(json.dumps(problem).encode())
    return sha256.hexdigest()


def _remove_traces(final: Path) -> None:
    """Remove the files that only an unfinished split needs.

    This comes after the renaming. A run that is killed between the two leaves them, and the next run removes them.
    """
    for name in (_PROGRESS, _LOCK):
        (final / name).unlink(missing_ok=True)


def _summary(final: Path, already_prepared: bool = False) -> Summary:
    description = read_description(final)
    numbers = [description[key] for key in ("utterances", "hours", "words", "skipped")]
    return Summary(final, *numbers, already_prepared)


def _saved_progress(partial: Path, origin: Origin) -> _Progress:
    """Return the progress of an earlier run of the same preparation; none if it is damaged or lacks a shard."""
    try:
        saved = json.loads(read_text(partial / _PROGRESS))
        shards = [Shard(**shard) for shard in saved["shards"]]
        progress = _Progress(**{**saved, "origin": Origin(**saved["origin"]), "shards": shards})
        whole = all((partial / shard.name).stat().st_size == shard.bytes for shard in shards)
        whole = whole and (partial / SKIPPED).stat().st_size >= progress.skipped_bytes
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return _Progress(origin)
    return progress if whole and progress.origin == origin else _Progress(origin)


def _remove_leftovers(partial: Path, progress: _Progress) -> None:
    """Remove what an earlier run wrote after its last saved progress."""
    keep = {shard.name for shard in progress.shards} | {SKIPPED, _PROGRESS, _LOCK}
    for file in partial.iterdir():
        if file.name not in keep:
            file.unlink()
    with (partial / SKIPPED).open("ab") as skips:
        skips.truncate(progress.skipped_bytes)
