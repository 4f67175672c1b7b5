"""Audio files and sample rates: whatever soundfile reads becomes 16-bit mono samples at one rate."""

import io
import os
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

# Formats that soundfile cannot read are listed too, so that these files are reported instead of overlooked.
_SUFFIXES = "wav flac ogg oga opus mp3 aiff aif au snd caf w64 rf64 sph m4a aac wma amr webm"
AUDIO_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split(" "))

# Programs that write to a pipe do not know the length and put a huge one into the header: ffmpeg 0xFFFFFFFF, sox
# 0x7FFFF000.
_UNKNOWN_BYTES = 0x7FFF0000
_DATA_CHUNK = re.compile(r"(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)")
_OGG_PAGE = 65307  # the most bytes that a page can have
# A segment that a manifest asks for may end this much after the file, because its times are rounded.
_OVERRUN_SECONDS = 0.1


def read_audio(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    sample_rate: int = 16000,
    start: float = 0.0,
    seconds: float | None = None,
    name: str | None = None,
) -> np.ndarray:
    """Read audio, or `seconds` of it from `start` (seconds), as int16 mono samples (N,) at `sample_rate`.

    source: a path, the bytes of a file, or a binary file object, which is read to its end and not closed. Its format is
    recognised by its content. Channels are averaged, other rates are resampled, and floating-point samples beyond full
    scale are clipped.

    Raises ValueError with one line if the audio is missing, empty, not audio, truncated, without samples, or holds NaN
    or infinity; OSError if the system refuses to read it. The line begins with `name`: by default the path, the name of
    the file object, or `<bytes>`.
    """
    name = name or _name(source)
    if start < 0 or (seconds is not None and seconds <= 0):
        raise ValueError(f"{name}: cannot read {seconds} s from {start} s")
    if isinstance(source, (str, os.PathLike)):
        source = Path(source)
        _check_file(source, name)
    else:
        source = source if isinstance(source, bytes) else source.read()
        if not isinstance(source, bytes):
            raise ValueError(f"{name}: gives {type(source).__name__}, not bytes; open it in binary mode")
        if not source:
            raise ValueError(f"{name}: is empty (0 bytes)")
    samples, rate = _decode(source, start, seconds, name)
    if not len(samples):
        raise ValueError(f"{name}: holds no samples" + (f" after {start:g} s" if start else ""))
    if not np.isfinite(samples).all():
        raise ValueError(f"{name}: holds samples that are NaN or infinite")
    if samples.shape[1] > 1:
        samples = samples.mean(axis=1, keepdims=True)
    samples = to_pcm(resample(samples[:, 0], rate, sample_rate))
    if not len(samples):
        raise ValueError(f"{name}: holds no samples at {sample_rate} Hz")
    return samples


def resample(samples: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample float samples (N,) with soxr in high quality. Equal rates return the samples themselves.

    Raises ValueError if a rate is not positive.
    """
    if rate_in <= 0 or rate_out <= 0:
        raise ValueError(f"sample rates must be positive, not {rate_in} and {rate_out}")
    if rate_in == rate_out or not len(samples):
        return samples
    return soxr.resample(samples, rate_in, rate_out, quality="HQ")


def to_pcm(samples: np.ndarray) -> np.ndarray:
    """Convert float samples in [-1, 1] to int16, and clip those beyond. Samples that were 16-bit survive unchanged."""
    return np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)


def _name(source: str | os.PathLike[str] | bytes | BinaryIO) -> str:
    if isinstance(source, (str, os.PathLike)):
        return str(Path(source))
    name = getattr(source, "name", None)  # a number for files that were opened by their descriptor
    return name if isinstance(name, str) else "<bytes>"


def _check_file(path: Path, name: str) -> None:
    """Raise if the path is not a file with content that may be read."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ValueError(f"{name}: no such file") from None
    if not path.is_file():
        raise ValueError(f"{name}: is not a file")
    if size == 0:
        raise ValueError(f"{name}: is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{name}: may not be read (check its permissions)")


def _decode(source: Path | bytes, start: float, seconds: float | None, name: str) -> tuple[np.ndarray, int]:
    """Return the float32 samples (N, channels) and their rate."""
    try:
        file = soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless .raw
        reason = getattr(error, "error_string", "it has no header")
        raise ValueError(f"{name}: is not audio that can be read ({reason.rstrip('.')})") from None
    with file:
        chunk = _DATA_CHUNK.search(file.extra_info)
        if chunk and int(chunk[2]) < int(chunk[1]) < _UNKNOWN_BYTES:
            raise ValueError(
                f"{name}: is truncated (its header promises {chunk[1]} bytes of audio, {chunk[2]} are there)"
            )
        if file.format == "OGG" and not _ends_its_stream(source):
            raise ValueError(f"{name}: is truncated (its last page does not end the stream)")
        first = round(start * file.samplerate)
        available = max(file.frames - first, 0)
        wanted = available if seconds is None else round(seconds * file.samplerate)
        if wanted - available > _OVERRUN_SECONDS * file.samplerate:
            length = file.frames / file.samplerate
            raise ValueError(f"{name}: is {length:.2f} s long, too short for {seconds:g} s from {start:g} s")
        count = min(wanted, available)
        if not count:
            return np.zeros((0, file.channels), np.float32), file.samplerate
        try:
            file.seek(first)
            samples = file.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            raise ValueError(f"{name}: is truncated or damaged (the decoder stopped before the end)") from None
        if len(samples) < count:
            raise ValueError(f"{name}: is truncated (its header promises {count} samples, {len(samples)} can be read)")
        return samples, file.samplerate


def _ends_its_stream(source: Path | bytes) -> bool:
    """Whether an Ogg file's last page is whole and marked as the last. libsndfile does not report a missing end.

    RFC 3533, section 6: flags in byte 5, the number of segments in byte 26, then the size of each segment.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _OGG_PAGE))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27 or not page[5] & 4:
        return False
    segments = page[27 : 27 + page[26]]
    return len(page) >= 27 + page[26] + sum(segments)
