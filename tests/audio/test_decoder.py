"""Decoding: codecs without a seek, FLAC files of unknown or wrong length, segments, and rates that no recorder has."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from rnnt.audio import read_audio, resample

NOISE = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)


def written(format, subtype=None, samples=NOISE, rate=16000):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def flac_of(total, content=None):
    """A FLAC file whose header promises `total` samples."""
    content = bytearray(content or written("FLAC"))
    word = int.from_bytes(content[18:26], "big")
    content[18:26] = (word >> 36 << 36 | total).to_bytes(8, "big")
    return bytes(content)


def test_a_flac_file_of_unknown_length_is_read_to_its_end(tmp_path):
    expected = read_audio(written("FLAC"))
    for total in (0, 1000):  # unknown, and too few
        (tmp_path / "a.flac").write_bytes(flac_of(total))
        for source in (tmp_path / "a.flac", flac_of(total)):
            np.testing.assert_array_equal(read_audio(source), expected)
            np.testing.assert_array_equal(read_audio(source, start=1.0, seconds=0.5), expected[16000:24000])


@pytest.mark.parametrize("total", [32001, 10**6, 2**36 - 1])
def test_a_flac_file_that_promises_more_is_truncated(total):
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^a.flac: is truncated"):
        read_audio(flac_of(total), name="a.flac")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


@pytest.mark.parametrize("total", [32000, 0])
def test_a_flac_file_that_ends_in_a_frame_is_truncated(total):
    content = flac_of(total)
    with pytest.raises(ValueError, match="is truncated"):
        read_audio(content[: len(content) // 2 + 100])


def test_flac_files_that_follow_each_other_are_an_error():
    with pytest.raises(ValueError, match="holds several FLAC files one after another; split it"):
        read_audio(written("FLAC") * 2)


def test_tags_before_a_flac_file_are_passed_over():
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 1, 0]) + bytes(128)
    for total in (32000, 0):
        np.testing.assert_array_equal(read_audio(tag + flac_of(total)), read_audio(written("FLAC")))


SEQUENTIAL = [
    ("WAV", "GSM610", 8000), ("AIFF", "GSM610", 8000), ("WAV", "G721_32", 8000), ("AU", "G721_32", 8000),
    ("AU", "G723_24", 8000), ("AU", "G723_40", 8000), ("WAV", "NMS_ADPCM_16", 8000), ("WAV", "NMS_ADPCM_24", 8000),
    ("WAV", "NMS_ADPCM_32", 8000), ("WAV", "IMA_ADPCM", 8000), ("WAV", "MS_ADPCM", 8000), ("AIFF", "DWVW_16", 16000),
    ("AIFF", "IMA_ADPCM", 16000), ("CAF", "ALAC_16", 16000), ("WAV", "ULAW", 8000), ("W64", "GSM610", 8000),
]  # fmt: skip


@pytest.mark.parametrize(("format", "subtype", "rate"), SEQUENTIAL)
def test_every_codec_is_read_to_its_end_and_in_segments(tmp_path, format, subtype, rate):
    path = tmp_path / "a"
    path.write_bytes(written(format, subtype, rate=rate))
    whole = read_audio(path, rate)
    assert 32000 <= len(whole) <= 32000 + 1024  # the last block is filled up
    reference = soundfile.SoundFile(path)
    reference.seekable = lambda: False  # `read` would move first
    np.testing.assert_array_equal(whole, np.rint(reference.read(-1 if reference.seekable() else len(whole)) * 32768))
    for start in (0.5, 1.0, 1.37):
        segment = read_audio(path, rate, start=start, seconds=0.25)
        np.testing.assert_array_equal(segment, whole[round(start * rate) :][: len(segment)])
        assert len(segment) == round(0.25 * rate)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("start", [0.0, 0.3, 1.1, 1.9])
def test_segments_of_ogg_files_equal_the_whole(subtype, start):
    content = written("OGG", subtype)
    whole = read_audio(content).astype(int)
    segment = read_audio(content, start=start, seconds=0.1)
    assert abs(whole[round(start * 16000) :][:1600] - segment).max() <= 1


def test_a_long_file_is_read_in_blocks():
    samples = np.random.default_rng(0).integers(-3000, 3000, 700_001).astype(np.int16)
    for content in (written("WAV", samples=samples), written("FLAC", samples=samples)):
        np.testing.assert_array_equal(read_audio(content), samples)
        np.testing.assert_array_equal(read_audio(content, start=10, seconds=30.0), samples[160_000:640_000])


@pytest.mark.parametrize("rate", [1, 100, 3999, 1_000_000, 2**31 - 1])
def test_sample_rates_that_no_recorder_has_are_refused(rate):
    content = bytearray(written("WAV", "PCM_16"))
    struct.pack_into("<I", content, 24, rate)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"a.wav: has a sample rate of {rate} Hz, which no recorder has"):
        read_audio(bytes(content), name="a.wav")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6
    with pytest.raises(ValueError, match="which no recorder has"):
        resample(NOISE, rate, 16000)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 44100, 192000, 384000])
def test_sample_rates_of_recorders_are_read(rate):
    assert len(read_audio(written("WAV", rate=rate), rate)) == 32000


@pytest.mark.parametrize("suffix", ["raw", "gsm", "vox", "sd2", "au", "wav", "mp3", "flac", "alaw", "vox6", "paf"])
def test_the_name_of_a_file_does_not_make_it_audio(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(np.random.default_rng(0).integers(1, 200, 9999).astype(np.uint8).tobytes())
    with pytest.raises(ValueError, match=rf"/a\.{suffix}: is not audio"):
        read_audio(path)
    path.write_bytes(written("WAV"))
    assert len(read_audio(path)) == 32000  # a wrong name does no harm


def test_numbers_of_a_manifest_that_no_file_has():
    for start, seconds in ((float("nan"), 1.0), (1e300, None), (0.0, float("inf")), (0.0, 1e300)):
        with pytest.raises(ValueError, match=r"^a.wav: cannot read"):
            read_audio(written("WAV"), start=start, seconds=seconds, name="a.wav")
