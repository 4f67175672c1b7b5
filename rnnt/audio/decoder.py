"""Decoding files in blocks, from any place to the end, without trust in the length that a header tells."""

import io
import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile

from rnnt.audio.container import AudioData, Memory, Patched, find_audio, flac_samples
from rnnt.audio.mpeg import find_tracks, skip_tags, starts_with_mpeg
from rnnt.audio.ogg import find_links
from rnnt.audio.terminal import quiet_decoder

# Telephones have 8 kHz, a few old recorders less; recorders of ultrasound have up to 768 kHz.
_RATES = range(4000, 768001)
_MAX_CHANNELS = 256  # the largest arrays of microphones

_BLOCK = 1 << 18  # samples, of all channels together, that are decoded at once
_PROBE = 1 << 12  # samples of each channel
_UNKNOWN = 1 << 62  # libsndfile says 2**63 - 1 if it does not know the number of samples
_PREFIX = 1 << 18  # bytes in which the first MPEG frames are searched
_READ = 1 << 20  # bytes that are read at once
# A segment that a manifest asks for may end this much after the file, because its times are rounded.
_OVERRUN_SECONDS = 0.1
_MAX_REST_SECONDS = 1.0  # of audio that the header does not tell of; short trailers of other programs are common
# Codecs in which libsndfile cannot move to a sample.
_SEQUENTIAL = ("GSM", "G72", "NMS_", "DWVW", "DPCM", "VOX")
# A decoder that starts in the middle gives wrong samples first. A frame of MP3 takes up to 511 bytes from earlier ones,
# of which each may have only a few to give.
_MPEG_LEAD_SECONDS = 3.0
_OGG_LEAD_SECONDS = 1.0
_OPUS_UNIT = 48000  # a second, in the positions of an Ogg file with Opus
# libsndfile's notes on rare formats, from Psion's voice notes to Matlab's matrices.
_NOTE = re.compile(r"truncated|should be", re.IGNORECASE)
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # the beginning of a FLAC file
_NOTED_SAMPLES = re.compile(r"(?:Frames|Cols) *: *(\d+)")


class _Decoder(soundfile.SoundFile):
    """A file that is decoded in order."""

    def seekable(self) -> bool:
        """Say no. Otherwise `read` would then move to where it is already, which some codecs cannot."""
        return False


@dataclass(frozen=True)
class _Stream:
    """A part of a file that has a decoder to itself. Most files have one."""

    file: BinaryIO
    samples: int | None = None  # of each channel that the stream holds (0: unknown); None: as many as the decoder says
    data: AudioData | None = None
    tail: int | None = None  # length of the last page, in an Ogg file
    flac: bool = False
    mpeg: bool = False
    rare: bool = False  # of a format that is left to libsndfile
    noisy: bool = False  # the decoder writes to the terminal
    fault: str = ""  # that is reported after what there is has been decoded


def decode(file: BinaryIO, start: float, seconds: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """Yield float32 blocks (N, C) and their sample rate, from `start` (seconds) to the end or for `seconds`.

    The file is read from its beginning, whatever the position in it is. Raises ValueError, in a line that does not name
    the file, if it is not audio, truncated, damaged or too short, or has a sample rate that no recorder has.
    """
    common = None
    earlier = given = wanted = 0  # samples: of the streams before this one, yielded, to be yielded (-1: all)
    for stream in _find_streams(file):
        with _open_faulty(stream) as decoder:
            rate = decoder.samplerate
            if common not in (None, rate):
                raise ValueError(f"changes its sample rate from {common} to {rate} Hz; split it there")
            common = rate
            wanted = -1 if seconds is None else round(seconds * rate)
            skip = max(round(start * rate) - earlier, 0)
            total = _promised(decoder, stream)
            if total is None or skip < total or stream.flac:  # a FLAC file may hold more than it promises
                total = skip
                for total, block in _blocks(decoder, stream, skip, wanted - given):  # noqa: B007 - used below
                    given += len(block)
                    if len(block):
                        yield block, rate
            if stream.fault:
                raise ValueError(stream.fault)
            if given == wanted:
                return
            earlier += total
    if common and wanted - given > _OVERRUN_SECONDS * common:
        raise ValueError(f"is {earlier / common:.2f} s long, too short for {seconds:g} s from {start:g} s")


def check_rate(rate: int) -> None:
    """Raise ValueError if no recorder has this sample rate."""
    if rate not in _RATES:
        raise ValueError(f"has a sample rate of {rate} Hz, which no recorder has; correct its header")


def _find_streams(file: BinaryIO) -> list[_Stream]:
    """Find the streams of a file by its content. Raises ValueError if it is truncated."""
    data = find_audio(file)
    if data is not None:
        fault = ""
        if data.promised is not None and data.present < data.promised:
            fault = f"is truncated (its header promises {data.promised} bytes of audio, {data.present} are there)"
            if data.mpeg or not data.present:
                raise ValueError(fault)
        if data.mpeg:
            content = _content(file, data.start)
            return _mpeg_streams(file, content if data.promised is None else content[: data.promised])
        noisy = _content(file, 0, 4) == b"caff"  # ALAC
        patched = Patched(file, data.patches) if data.patches else file
        return [_Stream(patched, data=data, noisy=noisy, fault=fault)]
    if _content(file, 0, 4) == b"OggS":
        return [_Stream(Memory(link.content), tail=link.tail) for link in find_links(_content(file, 0))]
    start = 0
    while (after := start + skip_tags(_content(file, start, 32))) > start:
        start = after
    flac = flac_samples(file, start)
    if flac is not None:
        samples, patch = flac
        return [_Stream(Patched(file, (patch,)), samples, flac=True)]
    if starts_with_mpeg(_content(file, start, _PREFIX)):
        return _mpeg_streams(file, _content(file, start))
    return [_Stream(file, rare=True, noisy=True)]


def _mpeg_streams(file: BinaryIO, content: bytes) -> list[_Stream]:
    return [_Stream(track.file or file, track.samples, mpeg=True, noisy=True) for track in find_tracks(content)]


def _content(file: BinaryIO, start: int, count: int = -1) -> bytes:
    file.seek(start)
    return file.read(count)


def _quiet(stream: _Stream):
    return quiet_decoder() if stream.noisy else nullcontext()


def _open(stream: _Stream) -> _Decoder:
    """Open a decoder at the start of the stream. Raises ValueError if that is impossible or its header is wrong."""
    stream.file.seek(0)
    try:
        with _quiet(stream):
            # An open file in place of its name: libsndfile takes some names for the format of a file without a header.
            by_number = isinstance(stream.file, io.FileIO)
            decoder = _Decoder(stream.file.fileno() if by_number else stream.file, closefd=False)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"is not audio that can be read ({error.error_string.rstrip('.')})") from None
    try:
        check_rate(decoder.samplerate)
        if decoder.channels > _MAX_CHANNELS:
            raise ValueError(f"has {decoder.channels} channels, which no recorder has; correct its header")
        if stream.rare and decoder.subtype.startswith("MPEG"):
            raise ValueError("is not audio that can be read (no MPEG frames of a known length)")
        if stream.rare:
            notes = decoder.extra_info
            noted = _NOTED_SAMPLES.findall(notes)
            if _NOTE.search(notes) or (noted and int(noted[-1]) != decoder.frames):
                raise ValueError("is truncated (it has fewer samples than its header promises)")
        if stream.data is not None and stream.data.rest:
            _check_rest(stream, decoder)
    except ValueError:
        decoder.close()
        raise
    return decoder


def _open_faulty(stream: _Stream) -> _Decoder:
    """Open a decoder as `_open` does. An error is put down to the fault that is known, if there is one."""
    try:
        return _open(stream)
    except ValueError:
        if stream.fault:
            raise ValueError(stream.fault) from None
        raise


def _check_rest(stream: _Stream, decoder: _Decoder) -> None:
    """Raise ValueError if there is more audio than the header tells of, as after a recorder that was killed."""
    data = stream.data
    seconds = _MAX_REST_SECONDS
    if data.promised:
        seconds = data.rest / data.promised * decoder.frames / decoder.samplerate
    if seconds < _MAX_REST_SECONDS:
        return
    position = stream.file.tell()  # the decoder's too
    stream.file.seek(data.start + data.present - data.rest)
    filled = any(any(block) for block in iter(lambda: stream.file.read(_READ), b""))
    stream.file.seek(position)
    if filled:  # zeros may be room that a recorder has reserved
        raise ValueError(
            f"is longer than its header tells ({data.rest} bytes follow the audio); save it anew with an audio editor"
        )


def _promised(decoder: _Decoder, stream: _Stream) -> int | None:
    """Return the number of samples of each channel that must be there; None if nothing tells it."""
    if stream.samples is not None:
        return stream.samples or None
    return decoder.frames if decoder.frames < _UNKNOWN else None


def _blocks(decoder: _Decoder, stream: _Stream, skip: int, wanted: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the position after each block, and the block (N, C), from the sample `skip` on; all if `wanted` < 0."""
    promised, position = _promised(decoder, stream), 0
    try:
        with _quiet(stream):
            position = _seek(decoder, stream, skip)
        while wanted:
            count = max(_BLOCK // decoder.channels, 1)
            if promised is not None and position < promised:
                count = min(count, promised - position)
            elif promised is not None and not stream.flac:
                return
            elif promised is not None:  # a header may promise too little
                count = _PROBE
            if wanted > 0:
                count = min(count, max(skip - position, 0) + wanted)
            with _quiet(stream):
                block = decoder.read(count, dtype="float32", always_2d=True)
            if not len(block):
                break
            kept = block[max(skip - position, 0) :]
            position += len(block)
            wanted -= len(kept)
            yield position, kept
        else:
            return
    except soundfile.LibsndfileError:
        if stream.fault:
            raise ValueError(stream.fault) from None
        if not stream.flac or not 0 < stream.samples == position:
            raise ValueError("is truncated or damaged (the decoder stopped before the end)") from None
        if len(_FLAC.findall(_content(stream.file, 0))) > 1:
            raise ValueError("holds several FLAC files one after another; split it") from None
    if promised is not None and position < promised and not stream.fault:
        raise ValueError(f"is truncated (its header promises {promised} samples, {position} can be read)")


def _seek(decoder: _Decoder, stream: _Stream, skip: int) -> int:
    """Move to the sample `skip` or to one before it, from which all samples are right. Return the position."""
    promised = _promised(decoder, stream)
    if stream.mpeg:  # also to the start, because rounding differs by it
        return decoder.seek(max(skip - round(_MPEG_LEAD_SECONDS * decoder.samplerate), 0))
    if not skip or promised is None or skip >= promised or decoder.subtype.startswith(_SEQUENTIAL):
        return 0
    target = skip
    if stream.tail is not None:  # in the last page, libvorbis loses count
        tail = stream.tail if decoder.subtype == "VORBIS" else stream.tail * decoder.samplerate // _OPUS_UNIT
        target = min(target, promised - tail) - round(_OGG_LEAD_SECONDS * decoder.samplerate)
    return decoder.seek(target) if target > 0 else 0
