"""Audio files, or their bytes, as 16-bit mono samples at one sample rate."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr

from rnnt.audio.container import Memory
from rnnt.audio.decoder import check_rate, decode
from rnnt.audio.level import mono_blocks

# Formats that soundfile cannot read are listed too, so that these files are reported instead of overlooked.
_SUFFIXES = "wav flac ogg oga opus mp3 aiff aif au snd caf w64 rf64 sph m4a aac wma amr webm"
AUDIO_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split(" "))

_MAX_SECONDS = 1e9  # a manifest may hold any number


def read_audio(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    sample_rate: int = 16000,
    start: float = 0.0,
    seconds: float | None = None,
    name: str | None = None,
) -> np.ndarray:
    """Read audio, or `seconds` of it from `start` (seconds), as int16 mono samples (N,) at `sample_rate`.

    source: a path, the bytes of a file, or a binary file object, which is read to its end and not closed. Its format is
    recognised by its content alone. Channels are averaged, other rates are resampled, and floating-point samples a
    little beyond full scale are clipped. The file is read to its end, and compared with the length in its header if
    there is one.

    Raises ValueError with one line if the audio is missing, empty, not audio, truncated, without samples, holds NaN or
    infinity, is far too loud, has channels that cancel each other, or a sample rate that no recorder has; OSError if
    the system refuses to read it. The line begins with `name`: by default the path, the name of the file object, or
    `<bytes>`.
    """
    name = name or _name(source)
    if not 0 <= start < _MAX_SECONDS or not (seconds is None or 0 < seconds < _MAX_SECONDS):
        raise ValueError(f"{name}: cannot read {seconds} s from {start} s")
    with _opened(source, name) as file:
        try:
            samples = _read(file, sample_rate, start, seconds)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        except MemoryError:
            raise ValueError(f"{name}: is too long for the memory of this machine; split it") from None
    if not len(samples):
        raise ValueError(f"{name}: holds no samples" + (f" after {start:g} s" if start else ""))
    return samples


def audio_blocks(
    source: str | os.PathLike[str] | bytes | BinaryIO, sample_rate: int = 16000, name: str | None = None
) -> Iterator[np.ndarray]:
    """Yield audio of any length as int16 mono blocks (N,), while it is read; together they are what `read_audio` gives.

    Raises the errors of `read_audio`. One that shows only in the middle of the file, or at its end, is raised after the
    blocks before that place.
    """
    name = name or _name(source)
    count = 0
    with _opened(source, name) as file:
        try:
            for samples in _resampled(file, sample_rate):
                count += len(samples)
                yield samples
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if not count:
        raise ValueError(f"{name}: holds no samples")


def resample(samples: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample float samples (N,) with soxr in high quality. Equal rates return the samples themselves.

    Raises ValueError if a rate is not positive or no recorder has `rate_in`.
    """
    if rate_in <= 0 or rate_out <= 0:
        raise ValueError(f"sample rates must be positive, not {rate_in} and {rate_out}")
    if rate_in == rate_out or not len(samples):
        return samples
    check_rate(rate_in)
    return soxr.resample(samples, rate_in, rate_out, quality="HQ")


def to_pcm(samples: np.ndarray) -> np.ndarray:
    """Convert float samples in [-1, 1] to int16, and clip those beyond. Samples that were 16-bit survive unchanged."""
    return np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)


def _read(file: BinaryIO, sample_rate: int, start: float, seconds: float | None) -> np.ndarray:
    rate = sample_rate

    def blocks() -> Iterator[np.ndarray]:
        nonlocal rate
        for block, block_rate in decode(file, start, seconds):
            rate = block_rate
            yield block

    pieces = []
    for mono in mono_blocks(blocks()):
        pieces.append(to_pcm(mono) if rate == sample_rate else mono)  # int16 takes half the memory
    if not pieces:
        return np.zeros(0, np.int16)
    samples = _joined(pieces)
    if rate != sample_rate:
        samples = to_pcm(resample(samples, rate, sample_rate))
        if not len(samples):
            raise ValueError(f"holds no samples at {sample_rate} Hz")
    return samples


def _resampled(file: BinaryIO, sample_rate: int) -> Iterator[np.ndarray]:
    rate, stream = sample_rate, None

    def blocks() -> Iterator[np.ndarray]:
        nonlocal rate
        for block, block_rate in decode(file, 0.0, None):
            rate = block_rate
            yield block

    for mono in mono_blocks(blocks()):
        if rate == sample_rate:
            yield to_pcm(mono)
        else:
            stream = stream or soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
            yield to_pcm(stream.resample_chunk(np.ascontiguousarray(mono, np.float32)))
    if stream:
        yield to_pcm(stream.resample_chunk(np.zeros(0, np.float32), last=True))


def _joined(pieces: list[np.ndarray]) -> np.ndarray:
    """Concatenate arrays. Each is freed as soon as it is copied, so that memory for one more piece is enough."""
    if len(pieces) == 1:
        return pieces.pop()
    joined = np.empty(sum(map(len, pieces)), pieces[0].dtype)
    end = len(joined)
    while pieces:
        piece = pieces.pop()
        joined[end - len(piece) : end] = piece
        end -= len(piece)
    return joined


def _name(source: str | os.PathLike[str] | bytes | BinaryIO) -> str:
    if isinstance(source, (str, os.PathLike)):
        return str(Path(source))
    name = getattr(source, "name", None)  # a number for files that were opened by their descriptor
    return name if isinstance(name, str) else "<bytes>"


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes | BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Give a file to read from, at any position."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        _check_file(path, name)
        try:
            with open(path, "rb", buffering=0) as file:
                yield file
        except OSError as error:
            error.filename = error.filename or str(path)  # reading does not add it
            raise
        return
    content = source if isinstance(source, (bytes, bytearray, memoryview)) else source.read()
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise ValueError(f"{name}: gives {type(content).__name__}, not bytes; open it in binary mode")
    if not len(content):
        raise ValueError(f"{name}: is empty (0 bytes)")
    yield Memory(content)


def _check_file(path: Path, name: str) -> None:
    """Raise if the path is not a file with content that may be read."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ValueError(f"{name}: no such file") from None
    except ValueError:  # it holds a zero byte, or half of a surrogate pair
        raise ValueError(f"{name!r}: cannot be the name of a file") from None
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{name}: may not be read (check its permissions)")
    if not path.is_file():
        raise ValueError(f"{name}: is not a file")
    if size == 0:
        raise ValueError(f"{name}: is empty (0 bytes)")
