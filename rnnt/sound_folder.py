"""The recordings of a folder as one memory-mapped file of samples, which is made once and found again."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rnnt.audio import AUDIO_SUFFIXES, audio_blocks
from rnnt.files import locked, naming, replacing, sha256_of, write_json
from rnnt.progress import Display
from rnnt.text import reason
from rnnt.tree import find_files

_VERSION = 1
_WANTED = {"noise": "recordings of noise", "rooms": "impulse responses of rooms"}
_SAMPLES, _INDEX = "samples.i16", "sounds.json"
_STILL = 2  # int16 steps between the lowest and the highest sample of a silent recording: dither, or nothing
_NAMED = 3  # recordings that are named in a line about those left out


@dataclass(frozen=True)
class Sound:
    """One recording. start: its first sample in the file. power: the mean square of its int16 samples."""

    name: str
    start: int
    length: int
    power: float


class SoundFolder(Sequence[np.ndarray]):
    """The recordings of a folder, int16 mono at one sample rate. Reading copies nothing and is safe in threads.

    sounds: one for each recording that can be used, sorted by name. skipped: (name, reason) of the others. fingerprint:
    SHA-256 of all samples and of where each recording begins. Objects of this class are made by `open_sound_folder`.
    """

    def __init__(
        self, folder: Path, sounds: list[Sound], skipped: list[tuple[str, str]], samples: np.ndarray, sha256: str
    ):
        self.folder, self.sounds, self.skipped = folder, sounds, skipped
        places = json.dumps([[sound.start, sound.length] for sound in sounds])
        self.fingerprint = hashlib.sha256(f"{sha256} {places}".encode()).hexdigest()
        self._samples = samples

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the samples (N,) of a recording. They are read-only."""
        sound = self.sounds[index]
        return self._samples[sound.start : sound.start + sound.length]

    @property
    def note(self) -> str:
        """One line about the recordings that are left out; empty if there are none."""
        if not self.skipped:
            return ""
        total = len(self.skipped) + len(self)
        return f"{self.folder}: {len(self.skipped)} of {total} recordings are left out ({_named(self.skipped)})"


def open_sound_folder(
    folder: Path, sample_rate: int, kind: str, fallback: Path, least: float = 0.0, most: float = np.inf
) -> SoundFolder:
    """Open the recordings in a folder, at all depths, at `sample_rate`. Decode them first if that was not done before.

    The samples are kept in the folder NAME-RATE.KIND next to NAME, or in `fallback` if nothing can be written there.
    They are made again if the name, size or date of a recording has changed. Processes that open the folder at the same
    time wait for the one that decodes it. A recording is left out if it cannot be read, is silent, or does not last
    from `least` to `most` seconds.

    Raises ValueError if the folder holds no recording that can be used; OSError if nothing can be written.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: is no folder; name one that holds {_WANTED[kind]}")
    files = [path for path in find_files(folder).files if path.suffix.lower() in AUDIO_SUFFIXES]
    if not files:
        raise ValueError(f"{folder}: holds no audio; name a folder of {_WANTED[kind]}")
    whole = folder.resolve()
    name = f"{whole.name or 'root'}-{sample_rate}.{kind}"
    source = _source(whole, files, sample_rate, (least, most))
    caches = whole.parent / name, fallback / name
    found = next(filter(None, (_read(folder, cache, source) for cache in caches)), None)
    if found is None:
        with ExitStack() as held:
            try:
                cache = _locked_cache(caches[0], held)
            except OSError:  # others may own that folder
                cache = _locked_cache(caches[1], held)
            found = _read(folder, cache, source)  # another process may have decoded them meanwhile
            if found is None:
                _decode(folder, files, cache, source, sample_rate, (least, most))
                found = _read(folder, cache, source)
    if not len(found):
        raise ValueError(f"{folder}: none of its {len(files)} recordings can be used ({_named(found.skipped)})")
    return found


def _source(folder: Path, files: list[Path], sample_rate: int, limits: tuple[float, float]) -> str:
    """Return a digest of what the samples are made of, found without reading the recordings."""
    sha256 = hashlib.sha256(json.dumps([_VERSION, sample_rate, *limits]).encode())
    for path in files:
        status = path.stat() if path.exists() else None
        facts = (status.st_size, status.st_mtime_ns) if status else ()
        sha256.update(json.dumps([str(path.resolve()), *facts]).encode())
    return sha256.hexdigest()


def _locked_cache(cache: Path, held: ExitStack) -> Path:
    """Make the folder of the samples, and hold its lock."""
    cache.mkdir(parents=True, exist_ok=True)
    held.enter_context(locked(cache / ".lock"))
    return cache


def _read(folder: Path, cache: Path, source: str) -> SoundFolder | None:
    """Return the recordings in the cache, or None if it holds none, or others."""
    try:
        index = json.loads((cache / _INDEX).read_bytes())
        if index["source"] != source:
            return None
        sounds = [Sound(**sound) for sound in index["sounds"]]
        skipped = [(str(name), str(why)) for name, why in index["skipped"]]
        size = sum(sound.length for sound in sounds)
        if (cache / _SAMPLES).stat().st_size != 2 * size:
            return None
        samples = np.memmap(cache / _SAMPLES, np.int16, "r") if size else np.zeros(0, np.int16)
        return SoundFolder(folder, sounds, skipped, samples, index["sha256"])
    except (OSError, ValueError, TypeError, LookupError):  # it is not there, or damaged
        return None


def _decode(
    folder: Path, files: list[Path], cache: Path, source: str, sample_rate: int, limits: tuple[float, float]
) -> None:
    """Write the samples of all recordings into one file, and then the index."""
    sounds: list[Sound] = []
    skipped: list[tuple[str, str]] = []
    (cache / _INDEX).unlink(missing_ok=True)
    with Display() as display, replacing(cache / _SAMPLES) as out:
        task = display.task(f"decoding {folder}", len(files), "files")
        for done, path in enumerate(files, 1):
            name, start = str(path.relative_to(folder)), out.tell()
            try:
                sounds.append(_append(out, path, name, sample_rate, limits))
            except (ValueError, OSError) as error:
                if isinstance(error, OSError) and error.filename == out.name:  # the disk is full
                    raise
                skipped.append((name, reason(error)))
                out.seek(start)
                out.truncate()
            task.update(done)
        task.remove()
    write_json(
        cache / _INDEX,
        {
            "source": source,
            "sha256": sha256_of(cache / _SAMPLES),
            "sounds": [asdict(sound) for sound in sounds],
            "skipped": skipped,
        },
    )


def _append(out: BinaryIO, path: Path, name: str, sample_rate: int, limits: tuple[float, float]) -> Sound:
    """Write the samples of a recording. Raises ValueError if it cannot be used, when some may have been written."""
    start, length, power, lowest, highest = out.tell() // 2, 0, 0.0, 0, 0
    for block in audio_blocks(path, sample_rate, name):
        with naming(Path(out.name)):
            out.write(block.tobytes())
        low, high = int(block.min(initial=32767)), int(block.max(initial=-32768))
        lowest, highest = (min(lowest, low), max(highest, high)) if length else (low, high)
        length += len(block)
        power += float(np.square(block, dtype=np.float64).sum())
    _check(name, length / sample_rate, highest - lowest, limits)
    return Sound(name, start, length, power / length)


def _check(name: str, seconds: float, span: int, limits: tuple[float, float]) -> None:
    """Raise ValueError if a recording cannot be used."""
    if span <= _STILL:
        raise ValueError(f"{name}: is silent")
    if seconds > limits[1]:
        raise ValueError(f"{name}: lasts {seconds:.1f} s, more than {limits[1]:g} s")
    if seconds < limits[0]:
        raise ValueError(f"{name}: lasts {seconds:.3f} s, less than {limits[0]:g} s")


def _named(skipped: Sequence[tuple[str, str]]) -> str:
    """Return the reasons of the first recordings; each begins with a name."""
    more = len(skipped) - _NAMED
    return "; ".join(why for _, why in skipped[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
