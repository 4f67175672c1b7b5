"""Ogg files: their pages, chains of streams, and pages that are missing."""

import io

import numpy as np
import pytest
import soundfile

from rnnt.audio import read_audio
from rnnt.audio.ogg import find_links

NOISE = np.random.default_rng(0).normal(0, 0.1, 40000).astype(np.float32)


def written(subtype, samples=NOISE):
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format="OGG", subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chain_is_read_to_its_end(subtype):
    one, two = written(subtype), written(subtype, NOISE[:20000][::-1])
    assert [link.content for link in find_links(one + two)] == [one, two]
    joined = read_audio(one + two)
    np.testing.assert_array_equal(joined, np.concatenate([read_audio(one), read_audio(two)]))
    segment = read_audio(one + two, start=2.4, seconds=0.3)  # 2.5 s is where they join
    assert len(segment) == 4800 and np.abs(segment - joined[38400:43200].astype(int)).max() <= 1


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("kept", [0.01, 0.3, 0.5, 0.99])
def test_a_stream_without_its_end_is_truncated(subtype, kept):
    content = written(subtype)
    for source in (content[: int(kept * len(content))], content + content[: int(kept * len(content))]):
        with pytest.raises(ValueError, match=r"is truncated .its last page does not end the stream"):
            read_audio(source)


def test_a_page_with_a_wrong_checksum_is_damage():
    """The decoder would pass over it and go on, and half a second would be missing without a word."""
    for subtype in ("VORBIS", "OPUS"):
        content = written(subtype)
        for position in (content.rindex(b"OggS") + 6, len(content) // 2, len(content) - 1):
            damaged = bytearray(content)
            damaged[position] ^= 4
            with pytest.raises(ValueError, match=r"is damaged .the checksum of a page is wrong"):
                read_audio(bytes(damaged))


@pytest.mark.parametrize(("time", "message"), [(5, "is damaged"), (2**60, "a.ogg: is (truncated|damaged)")])
def test_a_last_page_that_claims_another_time_is_damage(time, message):
    content = bytearray(written("VORBIS"))
    last = content.rindex(b"OggS")
    content[last + 6 : last + 14] = time.to_bytes(8, "little")
    content[last + 22 : last + 26] = bytes(4)
    content[last + 22 : last + 26] = checksum(bytes(content[last:]))
    with pytest.raises(ValueError, match=message):
        read_audio(bytes(content), name="a.ogg")


def checksum(page):
    """CRC-32 as RFC 3533 has it, bit by bit."""
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = register << 1 ^ (0x104C11DB7 if register >> 31 else 0)
    return register.to_bytes(4, "little")
