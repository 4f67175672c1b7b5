"""MPEG audio (MP3): its frames, and the tracks that they form.

Nothing in an MPEG file has to tell its length. libmpg123, the decoder, then guesses it from the size of the first
frame, and stops at the guess. Therefore the frames are counted here. Their headers: ISO 11172-3, section 2.4.1.3.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

_MPEG1, _MPEG2, _MPEG25 = 3, 2, 0  # the version in a header
_BITRATES = {  # kbit/s, by MPEG 1 or not and layer; index 0 is "free format", which is next to unknown
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)
_RATE_DIVISORS = {_MPEG1: 1, _MPEG2: 2, _MPEG25: 4}

_ENOUGH = 4  # frames in a row that prove MPEG audio; a single header is easily found in random bytes
_MAX_GAP = 1024  # bytes between two frames that are passed over, as many as libmpg123 passes over
_MAX_JUNK = 1 << 16  # bytes before the first frame, or after the last


@dataclass(frozen=True)
class Track:
    """Successive frames of one kind, as one encoder wrote them."""

    file: io.RawIOBase | None  # the frames alone; None: the file itself may be decoded
    samples: int | None  # of each channel; None: as many as the decoder says


@dataclass(frozen=True)
class _Kind:
    """Properties that all frames of a track share."""

    samples: int  # of each channel in a frame
    info: int  # position of "Xing" or "Info" in a frame that holds the number of frames in place of audio
    mono: bool
    lengths: dict[int, int]  # bytes of a frame, by the second and third byte of its header


@dataclass(frozen=True)
class _Run:
    """Frames of one kind without a gap."""

    kind: _Kind
    start: int
    end: int
    frames: int


class _Frames(io.RawIOBase):
    """A file of frames. Copies of the first frame follow them until the file has `length` bytes."""

    def __init__(self, content: bytes, first: int, length: int = 0) -> None:
        self._content, self._frame = content, content[:first]
        self._length = max(length, len(content))
        self._position = 0

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer and return the number of bytes, 0 at the end of the file."""
        count = min(len(buffer), max(self._length - self._position, 0))
        found = self._content[self._position : self._position + count]
        if (missing := count - len(found)) > 0:
            phase = (self._position + len(found) - len(self._content)) % len(self._frame)
            copies = self._frame * (missing // len(self._frame) + 2)
            found += copies[phase : phase + missing]
        buffer[:count] = found
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position and return it. It is never before the start."""
        self._position = max(offset + {os.SEEK_CUR: self._position, os.SEEK_END: self._length}.get(whence, 0), 0)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position


def find_tracks(content: bytes) -> list[Track]:
    """Find the tracks of a file. There are several if files were joined, and none if it is not MPEG audio.

    content: the file from the end of the tags at its start. Raises ValueError if a track is truncated or damaged.
    """
    infos = _info_frames(content)
    tracks: list[Track] = []
    runs: list[_Run] = []
    for run in [*_runs(content, infos), None]:
        if runs and (run is None or run.kind is not runs[0].kind or run.start in infos):
            tracks.append(_track(content, runs, runs[0].start in infos))
            runs = []
        runs.append(run)
    return [track for track in tracks if track.samples != 0]


def _track(content: bytes, runs: list[_Run], has_info: bool) -> Track:
    kind = runs[0].kind
    frames = sum(run.frames for run in runs) - has_info
    own = b"".join([content[run.start : run.end] for run in runs])
    size = len(content)
    first = _length(own, 0, kind)
    promised = 0
    if has_info and first >= kind.info + 12 and own[kind.info + 7] & 1:
        promised = int.from_bytes(own[kind.info + 8 : kind.info + 12], "big")
    elif own[36:40] == b"VBRI":  # Fraunhofer's encoder
        promised = int.from_bytes(own[50:54], "big")
    if frames < promised - 1:  # some encoders count the frame that holds the number too
        raise ValueError(f"is truncated (its header promises {promised} MPEG frames, {frames} are there)")
    if has_info and promised and frames:
        if frames == promised and len(runs) == 1 and runs[0].start == 0 and skip_tags(content, runs[0].end) >= size:
            return Track(None, None)
        at = kind.info + 8
        return Track(_Frames(own[:at] + frames.to_bytes(4, "big") + own[at + 4 :], first), None)
    own = own[first:] if has_info else own
    first = _length(own, 0, kind) if frames else 1
    # The guess is the length of the file in frames as long as the first one.
    return Track(_Frames(own, first, (frames + 2) * (first + 4)), frames * kind.samples)


def starts_with_mpeg(content: bytes) -> bool:
    """Whether the beginning of a file holds MPEG frames. They may follow tags and some bytes of something else."""
    return next(_runs(content, set()), None) is not None


def skip_tags(content: bytes, position: int = 0) -> int:
    """Return the position after the ID3 and APE tags that begin at `position`."""
    while True:
        head = content[position : position + 32]
        if head.startswith(b"ID3") and len(head) >= 10:
            position += 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
            position += 10 if head[5] & 16 else 0  # a footer
        elif head.startswith(b"TAG"):
            position += 128
        elif head.startswith(b"APETAGEX") and len(head) == 32:
            position += 32 + int.from_bytes(head[12:16], "little")
        else:
            return position


def _runs(content: bytes, infos: set[int]) -> Iterator[_Run]:
    """Find all frames. Raises ValueError if something else lies between them or the last one is incomplete."""
    last = None
    expected = search = skip_tags(content)  # the position at which the next frame is expected
    while 0 <= (start := content.find(b"\xff", search)) <= expected + _MAX_JUNK:
        search = start + 1
        if (kind := _kind(content, start)) is None:
            continue
        run = _follow(content, start, kind, infos)
        if start == expected and (last is None or kind is last.kind):
            at_end = skip_tags(content, run.end) >= len(content) or _is_incomplete(content, run.end, kind)
            proven = run.frames >= (1 if at_end or last else _ENOUGH)
        else:
            proven = run.frames >= _ENOUGH
        if proven:
            if last and start > expected + _MAX_GAP:
                raise ValueError(f"is damaged ({start - expected} bytes at {expected} are no MPEG frames)")
            yield run
            last = run
            expected = search = skip_tags(content, run.end)
    if last and _is_incomplete(content, last.end, last.kind):
        raise ValueError("is truncated (its last MPEG frame is incomplete)")
    if last and len(content) > expected + _MAX_JUNK:
        raise ValueError(f"is damaged (its last {len(content) - expected} bytes are no MPEG frames)")


def _follow(content: bytes, start: int, kind: _Kind, infos: set[int]) -> _Run:
    """Follow frames of one kind from one to the next, up to one that begins another track."""
    lengths, mono, size = kind.lengths, kind.mono, len(content)
    position, frames = start, 0
    while position + 4 <= size and content[position] == 255 and (content[position + 3] >= 192) is mono:
        length = lengths.get(content[position + 1] << 8 | content[position + 2])
        if length is None or position + length > size or (position in infos and frames):
            break
        position += length
        frames += 1
    return _Run(kind, start, position, frames)


def _kind(content: bytes, position: int) -> _Kind | None:
    """Return the kind of the frame whose header is at `position`; None if there is no header."""
    header = content[position : position + 4]
    if len(header) < 4 or header[0] != 255 or header[1] < 224:
        return None
    version, layer, rate = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3), header[2] >> 2 & 3
    if version not in _RATE_DIVISORS or layer == 4 or rate == 3 or not 0 < header[2] >> 4 < 15:
        return None
    return _make_kind(version, layer, rate, header[3] >= 192)


@cache
def _make_kind(version: int, layer: int, rate: int, mono: bool) -> _Kind:
    samples = {1: 384, 2: 1152, 3: 1152 if version == _MPEG1 else 576}[layer]
    hertz = _RATES[rate] // _RATE_DIVISORS[version]
    unit = 4 if layer == 1 else 1
    lengths = {}
    for bitrate, padding, private, unprotected in product(range(1, 15), (0, 1), (0, 1), (0, 1)):
        second = 224 | version << 3 | (4 - layer) << 1 | unprotected
        third = bitrate << 4 | rate << 2 | padding << 1 | private
        bits = 1000 * _BITRATES[version == _MPEG1, layer][bitrate]
        lengths[second << 8 | third] = (samples // 8 * bits // (unit * hertz) + padding) * unit
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[version == _MPEG1, mono]
    return _Kind(samples, 4 + side, mono, lengths)


def _length(content: bytes, position: int, kind: _Kind) -> int:
    return kind.lengths[content[position + 1] << 8 | content[position + 2]]


def _is_incomplete(content: bytes, position: int, kind: _Kind) -> bool:
    """Whether a frame of this kind begins at `position` and the file ends within it."""
    return _kind(content, position) is kind and position + _length(content, position, kind) > len(content)


def _info_frames(content: bytes) -> set[int]:
    """Return where frames would begin that hold the number of frames. Before the name, the frame is empty."""
    found = set()
    for name in (b"Xing", b"Info"):
        at = -1
        while (at := content.find(name, at + 1)) >= 0:
            for info in (36, 21, 13):
                start = at - info
                kind = _kind(content, start) if start >= 0 else None
                if kind and kind.info == info and not any(content[start + 6 : at]):
                    found.add(start)
    return found
