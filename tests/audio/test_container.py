"""Headers of audio files: lengths that are unknown, wrong, huge or zero, and files that end early."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from rnnt.audio import read_audio
from rnnt.audio.container import Memory, Patched, find_audio

NOISE = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
# Format, and position and kind of the number that promises the length. None: libsndfile writes it at another place.
LENGTHS = {"WAV": (40, "<I"), "AIFF": (None, ">I"), "AU": (8, ">I"), "CAF": (None, ">q"), "W64": (None, "<Q")}


def written(format, subtype="PCM_16", samples=NOISE, rate=16000):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def with_length(content, format, value):
    """Write another length of the audio into a header."""
    at, kind = LENGTHS[format]
    names = {"AIFF": b"SSND", "CAF": b"data", "W64": b"data\xf3\xac\xd3\x11"}
    if at is None:
        at = content.rindex(names[format], 0, 8192) + (16 if format == "W64" else 4)
    content = bytearray(content)
    struct.pack_into(kind, content, at, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("format", "value"),
    [
        ("WAV", 0), ("WAV", 0xFFFFFFFF), ("WAV", 0x7FFFF000), ("WAV", 0x80000000), ("AIFF", 0), ("AIFF", 0xFFFFFFFF),
        ("AU", 0xFFFFFFFF), ("AU", 0), ("CAF", -1), ("W64", 0), ("W64", 24), ("W64", 2**63 - 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_path", [True, False])
def test_a_length_that_is_unknown_is_that_of_the_file(tmp_path, format, value, as_path):
    """A pipe leaves a huge length, and a recorder that was killed a 0."""
    content = written(format)
    expected = read_audio(content)
    assert len(expected) == 32000
    content = with_length(content, format, value)
    (tmp_path / "a").write_bytes(content)
    source = tmp_path / "a" if as_path else content
    np.testing.assert_array_equal(read_audio(source), expected)
    np.testing.assert_array_equal(read_audio(source, start=1.0, seconds=0.5), expected[16000:24000])


@pytest.mark.parametrize("format", ["WAV", "W64", "RF64", "NIST", "CAF", "AIFF", "AU", "VOC", "MAT5", "AVR", "SVX"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.999])
def test_a_file_that_ends_early_is_truncated(format, kept):
    content = written(format, rate=8000)
    assert len(read_audio(content, 8000)) == 32000
    with pytest.raises(ValueError, match=r"^<bytes>: is truncated"):
        read_audio(content[: int(len(content) * kept)], 8000)


@pytest.mark.parametrize("format", ["WAV", "AIFF", "AU", "CAF", "W64"])
def test_a_length_that_is_claimed_is_never_allocated(format):
    content = with_length(written(format), format, 0x70000000)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"is truncated .its header promises 18790.* bytes of audio, 64000 are there"):
        read_audio(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_wav_files_of_which_both_sizes_are_zero(tmp_path):
    content = bytearray(written("WAV"))
    content[4:8] = content[40:44] = bytes(4)
    assert len(read_audio(bytes(content))) == 32000
    assert len(read_audio(bytes(content[:-1]))) == 31999  # killed in the middle of a sample


def test_audio_that_the_header_does_not_tell_of_is_an_error():
    """A header that was last brought up to date long before the recorder was killed."""
    content = with_length(written("WAV"), "WAV", 2000)
    with pytest.raises(ValueError, match=r"is longer than its header tells \(62000 bytes follow the audio\)"):
        read_audio(content)
    trailer = written("WAV") + b"a note of some other program" * 10
    assert len(read_audio(trailer)) == 32000
    room = with_length(written("WAV", samples=np.zeros(64000)), "WAV", 2000)
    assert len(read_audio(room)) == 1000  # zeros: room that a recorder had reserved


@pytest.mark.parametrize("format", ["WAV", "AIFF", "AU", "CAF"])
def test_files_that_follow_each_other_are_an_error(format):
    with pytest.raises(ValueError, match="holds several files one after another; split it"):
        read_audio(written(format) * 2)


def test_chunks_around_the_audio_are_passed_over():
    content = written("WAV")
    note = b"note" + struct.pack("<I", 5) + b"hello\0"
    assert len(read_audio(content[:36] + note + content[36:] + note)) == 32000
    data = find_audio(Memory(content[:36] + note * 3 + content[36:] + note))
    assert (data.start, data.promised, data.rest) == (44 + 3 * len(note), 64000, 0)


def test_other_files_have_no_header_of_these():
    for content in (b"", b"RIFF", b"RIFF\0\0\0\0WAVE", written("FLAC"), b"NIST_1A\nmany\n", bytes(100)):
        assert find_audio(Memory(content)) is None


def sphere(coding):
    """A SPHERE file as on the discs of the LDC: its header is 1024 bytes of text."""
    fields = ["channel_count -i 1", "sample_count -i 4000", "sample_rate -i 16000", "sample_n_bytes -i 2"]
    fields += ["sample_byte_format -s2 01", *coding]
    header = "\n".join(["NIST_1A", "   1024", *fields, "end_head", ""])
    return header.encode().ljust(1024) + np.arange(4000, dtype="<i2").tobytes()


@pytest.mark.parametrize("coding", [[], ["sample_coding -s3 pcm"]])
def test_sphere_is_read_to_its_last_sample(coding):
    np.testing.assert_array_equal(read_audio(sphere(coding)), np.arange(4000))
    with pytest.raises(ValueError, match=r"is truncated .its header promises 8000 bytes of audio, 7998 are there"):
        read_audio(sphere(coding)[:-2])


@pytest.mark.parametrize("program", ["shorten-v2.00", "shortpack-v0", "wavpack-v2"])
def test_compressed_sphere_is_named_with_the_mend(program):
    content = sphere([f"sample_coding -s{13 + len(program)} pcm,embedded-{program}"])
    name = program.partition("-")[0]
    with pytest.raises(ValueError, match=f"^a.wav: is SPHERE compressed by {name}, .*; convert it with sph2pipe"):
        read_audio(content[:5000], name="a.wav")


def test_names_in_the_audio_of_sphere_are_no_sign_of_compression():
    content = bytearray(sphere([]))
    content[2000:2025] = b"\nsample_coding -s shorten\n"[:25]
    assert len(read_audio(bytes(content))) == 4000


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_patches_replace_bytes_however_they_are_read(size):
    file = Patched(Memory(bytes(range(20))), ((0, b"ab"), (5, b"xyz"), (18, b"longer")))
    expected = b"ab\x02\x03\x04xyz" + bytes(range(8, 18)) + b"lo"
    read = b"".join(iter(lambda: file.read(size), b""))
    assert read == expected
    file.seek(6)
    assert file.read(3) == b"yz\x08"
    file.seek(-1)
    assert file.tell() == 9  # stays


@pytest.mark.parametrize("seed", range(40))
def test_damaged_headers_give_samples_or_one_line(seed):
    random = np.random.default_rng(seed)
    kinds = [("WAV", "GSM610"), ("CAF", "ALAC_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)]
    kinds += [(format, "PCM_16") for format in ("WAV", "W64", "RF64", "NIST", "AIFF", "AU", "VOC")]
    for format, subtype in kinds:
        content = bytearray(written(format, subtype, NOISE[:4000]))
        for position in random.integers(0, random.choice([64, 512, len(content)]), 4):
            content[position % len(content)] = random.choice([0, 127, 128, 255, random.integers(256)])
        try:
            assert read_audio(bytes(content)).dtype == np.int16
        except ValueError as error:
            assert str(error).startswith("<bytes>: ") and "\n" not in str(error) and "memory" not in str(error)
