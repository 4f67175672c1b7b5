"""Headers of audio files: where the audio lies in a file, and how much of it the header promises."""

import io
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# A program that writes to a pipe does not know the length. It writes the largest number that fits, or one close to it:
# ffmpeg 0xFFFFFFFF, sox 0x7FFFF000.
_UNKNOWN_32 = 0x7FFF0000
_UNKNOWN_64 = 2**63 - 2**16
_MOST_32 = 0xFFFFFFFF
_MAX_CHUNKS = 4096  # a damaged file could hold millions of empty chunks
_SPHERE_HEADER = 16384  # bytes of text that are searched
_STARTS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"caff", b".snd", b"dns.", b"NIST")  # of a file
_MPEG_CODES = (0x50, 0x55)  # in the `fmt ` chunk of a WAV file: MPEG layers I and II, MP3


@dataclass(frozen=True)
class AudioData:
    """The bytes of a file that hold its audio."""

    start: int  # position of the first byte
    promised: int | None  # bytes that the header promises; None if it does not tell
    present: int  # bytes from `start` to the end of the file
    rest: int = 0  # bytes after the promised ones that belong to no other part of the file
    patches: tuple[tuple[int, bytes], ...] = ()  # position and new bytes, so that a decoder reads to the file's end
    mpeg: bool = False  # the audio is MPEG frames (MP3)


@dataclass(frozen=True)
class _Layout:
    """How a format writes its chunks: name, length and content, padded to a multiple of `align` bytes."""

    header: struct.Struct
    align: int
    whole: bool = False  # the length counts the header too

    def chunks(self, file: BinaryIO, size: int, position: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield name, start and length of each chunk until a name is unreadable.

        size: of the file. The length of the last chunk may exceed it.
        """
        for _ in range(_MAX_CHUNKS):
            if not 0 <= position < size:
                return
            file.seek(position)
            head = file.read(self.header.size)
            if len(head) < self.header.size:
                return
            name, length = self.header.unpack(head)
            if not all(32 <= letter < 127 for letter in name[:4]):
                return
            start = position + self.header.size
            length -= self.header.size if self.whole else 0
            yield name[:4], start, length
            if length < 0:
                return
            position = self.aligned(start + length)

    def aligned(self, position: int) -> int:
        """Return the position at which a chunk may begin, at or after `position`."""
        return -(-position // self.align) * self.align

    def length_patch(self, start: int, length: int) -> tuple[int, bytes]:
        """Return the patch that gives the chunk with its content at `start` another length."""
        order, number = self.header.format[0], self.header.format[-1]
        length += self.header.size if self.whole else 0
        content = struct.pack(order + number, min(length, _MOST_32) if number == "I" else length)
        return start - len(content), content


_RIFF = _Layout(struct.Struct("<4sI"), 2)
_RIFX = _Layout(struct.Struct(">4sI"), 2)  # AIFF has the same
_W64 = _Layout(struct.Struct("<16sQ"), 8, whole=True)
_CAF = _Layout(struct.Struct(">4sq"), 1)


def find_audio(file: BinaryIO) -> AudioData | None:
    """Find the audio of a WAV, RF64, W64, AIFF, AU, CAF or SPHERE file. The position in the file changes.

    Returns None if the file is of another format or its header is damaged. Raises ValueError if another file follows,
    or if the audio is compressed by a program for SPHERE.
    """
    data = _find(file, size := file.seek(0, os.SEEK_END))
    if data is not None and data.promised is not None and data.rest:
        file.seek(size - data.rest)
        if file.read(4) in _STARTS:
            raise ValueError("holds several files one after another; split it")
    return data


def _find(file: BinaryIO, size: int) -> AudioData | None:
    file.seek(0)
    head = file.read(12)
    kind, form = head[:4], head[8:]
    if kind in (b"RIFF", b"RIFX", b"RF64") and form == b"WAVE":
        return _wave(file, size, _RIFX if kind == b"RIFX" else _RIFF)
    if kind == b"riff":
        return _in_chunk(file, size, _W64, 40, b"data", 0)
    if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _in_chunk(file, size, _RIFX, 12, b"SSND", 8)
    if kind == b"caff":
        return _in_chunk(file, size, _CAF, 8, b"data", 4)
    if kind in (b".snd", b"dns.") and len(form) == 4:
        start, promised = struct.unpack(">II" if kind == b".snd" else "<II", head[4:])
        patches = ((8, b"\xff" * 4),)  # AU's sign of an unknown length
        return _audio_data(size, start, promised, size - start - promised, patches)
    return _sphere(file, size) if kind == b"NIST" else None


def _wave(file: BinaryIO, size: int, layout: _Layout) -> AudioData | None:
    mpeg, lengths = False, None
    for name, start, length in layout.chunks(file, size, 12):
        if name == b"ds64":  # lengths of 64 bits: of the file, of the audio, ...
            lengths = start
        elif name == b"fmt ":
            file.seek(start)
            mpeg = int.from_bytes(file.read(2), "little" if layout is _RIFF else "big") in _MPEG_CODES
        elif name == b"data" and lengths is not None and (length == 0 or length >= _UNKNOWN_32):
            file.seek(lengths + 8)
            length = int.from_bytes(file.read(8), "little")
            patches = (lengths + 8, struct.pack("<Q", size - start)), layout.length_patch(start, _MOST_32)
            return _audio_data(size, start, length, _rest(file, size, layout, start + length), patches, long=True)
        elif name == b"data":
            patches = (layout.length_patch(start, size - start),)
            return _audio_data(size, start, length, _rest(file, size, layout, start + length), patches, mpeg=mpeg)
    return None


def _in_chunk(file: BinaryIO, size: int, layout: _Layout, position: int, wanted: bytes, extra: int) -> AudioData | None:
    """Find the audio in the chunk `wanted`, whose content begins with `extra` bytes of something else."""
    for name, start, length in layout.chunks(file, size, position):
        if name == wanted:
            length = max(length, extra)  # CAF's sign of an unknown length is -1
            rest = _rest(file, size, layout, start + length)
            patches = (layout.length_patch(start, size - start),)
            return _audio_data(size, start + extra, length - extra, rest, patches, long=layout is not _RIFX)
    return None


def _sphere(file: BinaryIO, size: int) -> AudioData | None:
    file.seek(0)
    text = file.read(_SPHERE_HEADER)
    start = re.match(rb"NIST_1A\n *(\d{1,5})\n", text)
    if start is None:
        return None
    packed = re.search(rb"^sample_coding .*(shorten|wavpack|shortpack)", text.split(b"end_head")[0], re.MULTILINE)
    if packed:
        program = packed[1].decode()
        raise ValueError(f"is SPHERE compressed by {program}, which cannot be read; convert it with sph2pipe -f wav")
    numbers = {key: int(value) for key, value in re.findall(rb"^(\w+) -[is]\d* (\d{1,15})\s*$", text, re.MULTILINE)}
    promised = numbers.get(b"sample_count", 0) * numbers.get(b"sample_n_bytes", 0) * numbers.get(b"channel_count", 1)
    return _audio_data(size, int(start[1]), promised, size - int(start[1]) - promised, (), long=True)


def _rest(file: BinaryIO, size: int, layout: _Layout, end: int) -> int:
    """Return how many bytes follow the position `end` that are no chunks."""
    end = layout.aligned(end)
    for name, start, length in layout.chunks(file, size, end):
        if name in (*_STARTS, b"data", b"SSND") or not 0 <= length <= size - start:
            break
        end = layout.aligned(start + length)
    return max(size - end, 0)


def _audio_data(
    size: int,
    start: int,
    promised: int,
    rest: int,
    patches: tuple[tuple[int, bytes], ...],
    long: bool = False,
    mpeg: bool = False,
) -> AudioData:
    """Return the audio data of a header that promises `promised` bytes, in a number of 32 or 64 (`long`) bits.

    Nothing is promised by a huge number (a pipe) or by a 0 with audio after it (a recorder that was killed).
    """
    present = max(size - start, 0)
    if present < promised >= (_UNKNOWN_64 if long else _UNKNOWN_32) or (promised == 0 and rest > 0):
        beyond = 0 if long else max(present - _MOST_32, 0)  # the decoder reads no more than the patch can tell it
        return AudioData(start, None, present, beyond, patches, mpeg)
    return AudioData(start, promised, present, max(rest, 0), (), mpeg)


def flac_samples(file: BinaryIO, start: int) -> tuple[int, tuple[int, bytes]] | None:
    """Return how many samples a FLAC file promises (0 if it does not tell), and a patch that makes it promise nothing.

    start: position of `fLaC`. Returns None if it is not there. See RFC 9639, section 8.2.
    """
    file.seek(start)
    head = file.read(26)
    if len(head) < 26 or not head.startswith(b"fLaC"):
        return None
    word = int.from_bytes(head[18:], "big")  # rate, channels and bits; the last 36 bits are the number of samples
    return word % 2**36, (start + 18, (word >> 36 << 36).to_bytes(8, "big"))


class Memory(io.BytesIO):
    """A file in memory. A move to a position before its start is ignored: libsndfile tries this on damaged files."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position and return it."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class Patched(io.RawIOBase):
    """A file of which some bytes are replaced when they are read.

    patches: position and new bytes of each replacement.
    """

    def __init__(self, file: BinaryIO, patches: tuple[tuple[int, bytes], ...]) -> None:
        self._file = file
        self._patches = patches

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer and return the number of bytes, 0 at the end of the file."""
        position = self._file.tell()
        count = self._file.readinto(buffer)
        for at, new in self._patches:
            first, last = max(at, position), min(at + len(new), position + count)
            if first < last:
                buffer[first - position : last - position] = new[first - at : last - at]
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position and return it. One before the start is ignored, as in `Memory`."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return self._file.tell()

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()
