"""Ogg files (Vorbis, Opus): their pages, and the streams that follow each other. See RFC 3533, section 6."""

import zlib
from dataclasses import dataclass, field

_FIRST, _LAST = 2, 4  # flags of a page: it begins a stream, or ends it
_HEADER = 27  # bytes before the sizes of a page's segments
_CODECS = (b"\x01vorbis", b"OpusHead")  # the first bytes of a stream of audio


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Link:
    """A stream of audio. There are several, a chain, in files that were joined."""

    content: bytes
    tail: int  # length of the last page's audio, in the unit of the codec: samples, or 1/48000 s for Opus


@dataclass
class _Stream:
    """A stream of audio whose pages are being found."""

    start: int  # position of its first page in the file
    serial: bytes = b""  # of the audio; video, for example, lies between its pages
    flags: int = 0  # of its last page so far
    ends: list[int] = field(default_factory=list)  # time at the end of each page
    damaged: bool = False  # a decoder passes over a page with a wrong checksum, and its audio is missing


def find_links(content: bytes) -> list[Link]:
    """Split the content of a file into the links of its chain. Raises ValueError if one is truncated or damaged."""
    links: list[Link] = []
    stream = _Stream(0)
    position, before = 0, _FIRST
    while (page := content.find(b"OggS", position)) >= 0 and page + _HEADER <= len(content):
        flags, serial = content[page + 5], content[page + 14 : page + 18]
        body = page + _HEADER + content[page + 26]
        position = body + sum(content[page + _HEADER : body])
        if flags & _FIRST and not before & _FIRST:
            links.append(_link(content[stream.start : page], stream))
            stream = _Stream(page)
        before = flags
        if flags & _FIRST and (not stream.serial or content[body : body + 8].startswith(_CODECS)):
            stream.serial = serial
        if serial == stream.serial:
            stream.flags = flags if position <= len(content) else 0
            stream.damaged |= position <= len(content) and not _is_whole(content[page:position])
            end = int.from_bytes(content[page + 6 : page + 14], "little", signed=True)
            if end >= 0:  # -1: no packet ends on the page
                stream.ends.append(end)
    return [*links, _link(content[stream.start :], stream)]


def _link(content: bytes, stream: _Stream) -> Link:
    if not stream.flags & _LAST:
        raise ValueError("is truncated (its last page does not end the stream)")
    if stream.damaged:
        raise ValueError("is damaged (the checksum of a page is wrong)")
    ends = [0, *stream.ends]
    if ends[-1] < max(ends):
        raise ValueError("is damaged (its last page ends earlier than one before it)")
    return Link(content, ends[-1] - ends[-2] if len(ends) > 1 else 0)


def _is_whole(page: bytes) -> bool:
    """Whether the checksum of a page is right. It is CRC-32 with the bits of each byte in the other order."""
    content = page[:22] + bytes(4) + page[26:]
    checksum = zlib.crc32(content.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return checksum.to_bytes(4, "little").translate(_REVERSED) == page[22:26][::-1]
