"""Reading audio: formats, rates, channels, and damaged files."""

import io
import struct
import tempfile

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from rnnt.audio import audio_blocks, read_audio, resample, to_pcm


def tone(seconds=0.5, rate=16000, hertz=440.0, level=0.3):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


class Unseekable:
    """A file object that can only be read, as a pipe or the body of a request."""

    def __init__(self, content):
        self.read = io.BytesIO(content).read


def from_path(path, **arguments):
    return read_audio(path, **arguments)


def from_bytes(path, **arguments):
    return read_audio(path.read_bytes(), name=path.name, **arguments)


def from_file(path, **arguments):
    with path.open("rb") as file:
        samples = read_audio(file, **arguments)
        assert not file.closed
        return samples


def from_memory(path, **arguments):
    return read_audio(io.BytesIO(path.read_bytes()), name=path.name, **arguments)


def from_unseekable(path, **arguments):
    return read_audio(Unseekable(path.read_bytes()), name=path.name, **arguments)


WAYS = pytest.mark.parametrize("read", [from_path, from_bytes, from_file, from_memory, from_unseekable])


def level_of(samples, rate, hertz):
    """The amplitude of one frequency, by projection onto it; edges are left out."""
    samples = samples[rate // 20 : -rate // 20] / 32768
    phase = 2j * np.pi * hertz * np.arange(len(samples)) / rate
    return 2 * abs(np.mean(samples * np.exp(-phase) * np.hanning(len(samples)) * 2))


def test_reads_16_bit_files_unchanged(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 4000).astype(np.int16)
    for name in ("a.wav", "a.flac", "a.aiff"):
        soundfile.write(tmp_path / name, samples, 16000, subtype="PCM_16")
        read = read_audio(tmp_path / name)
        assert read.dtype == np.int16
        np.testing.assert_array_equal(read, samples)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_other_rates_keep_the_tone_and_the_length(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate=rate), rate)
    read = read_audio(tmp_path / "a.wav")
    assert abs(len(read) - 8000) <= 1
    assert level_of(read, 16000, 440.0) == pytest.approx(0.3, rel=1e-3)


def test_resampling_removes_what_the_lower_rate_cannot_hold():
    aliased = to_pcm(resample(tone(rate=48000, hertz=10000.0), 48000, 16000))
    assert level_of(aliased, 16000, 6000.0) < 1e-4


def test_stereo_is_averaged(tmp_path):
    left, right = tone(level=0.2), tone(level=0.4)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), tone(level=0.3) * 32768, atol=1)


def test_eight_bit(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 16000, subtype="PCM_U8")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), tone() * 32768, atol=257)


def test_loud_float_files_are_clipped(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.5, 2.0, -2.0, 1.0, -1.0], np.float32), 16000, subtype="FLOAT")
    assert read_audio(tmp_path / "a.wav").tolist() == [16384, 32767, -32768, 32767, -32768]


def test_a_segment_of_a_file(tmp_path):
    samples = np.arange(16000, dtype=np.int16)
    soundfile.write(tmp_path / "a.flac", samples, 16000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac", start=0.25, seconds=0.5), samples[4000:12000])
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac", start=0.75), samples[12000:])
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac", start=0.75, seconds=0.26), samples[12000:])
    with pytest.raises(ValueError, match=r"a.flac: is 1.00 s long, too short for 0.5 s from 0.75 s"):
        read_audio(tmp_path / "a.flac", start=0.75, seconds=0.5)
    with pytest.raises(ValueError, match="holds no samples after 2 s"):
        read_audio(tmp_path / "a.flac", start=2.0)
    with pytest.raises(ValueError, match="cannot read"):
        read_audio(tmp_path / "a.flac", start=-1.0)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"])
@pytest.mark.parametrize("rate", [16000, 48000])
@WAYS
def test_bytes_and_file_objects_equal_the_path(tmp_path, name, rate, read):
    path = tmp_path / name
    kind = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    soundfile.write(path, np.stack([tone(1.5, rate), tone(1.5, rate, 300.0)], axis=1), rate, **kind)
    whole = read_audio(path)
    assert len(whole) > 20000
    np.testing.assert_array_equal(read(path), whole)
    np.testing.assert_array_equal(
        read(path, sample_rate=8000, start=0.5, seconds=0.25),
        read_audio(path, sample_rate=8000, start=0.5, seconds=0.25),
    )


def test_a_file_object_is_read_from_where_it_stands(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(), 16000)
    file = io.BytesIO(b"a header of another kind" + (tmp_path / "a.flac").read_bytes())
    file.seek(24)
    np.testing.assert_array_equal(read_audio(file), read_audio(tmp_path / "a.flac"))


def test_messages_name_the_input(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^<bytes>: is empty \(0 bytes\)$"):
        read_audio(b"")
    with pytest.raises(ValueError, match=r"^<bytes>: is not audio"):
        read_audio(io.BytesIO(b"text" * 100))
    with pytest.raises(ValueError, match=r"^upload 7: is empty"):
        read_audio(Unseekable(b""), name="upload 7")
    with (tmp_path / "a.wav").open("rb") as file, pytest.raises(ValueError, match=r"/a\.wav: is empty"):
        read_audio(file)
    with pytest.raises(ValueError, match=r"^upload 8: is empty"):
        read_audio(tmp_path / "a.wav", name="upload 8")
    with (
        tempfile.TemporaryFile() as file,
        pytest.raises(ValueError, match=r"^<bytes>: is empty"),
    ):  # its name is a number
        read_audio(file)
    with (
        (tmp_path / "a.wav").open() as file,
        pytest.raises(ValueError, match="gives str, not bytes; open it in binary"),
    ):
        read_audio(file)
    with pytest.raises(ValueError, match=r"^<bytes>: cannot read -1 s from 0.0 s"):
        read_audio(b"", seconds=-1)


@given(st.lists(st.integers(-32768, 32767)))
def test_pcm_survives_floating_point(values):
    samples = np.array(values, np.int16)
    np.testing.assert_array_equal(to_pcm(samples / np.float32(32768)), samples)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.mp3", "a.ogg", "a.opus"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
@WAYS
def test_truncated_files(tmp_path, name, kept, read):
    path = tmp_path / name
    kind = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 32000), 16000, **kind)
    assert len(read(path)) > 31000
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ValueError, match=rf"{name}: is truncated"):
        read(path)


@WAYS
def test_a_header_from_a_pipe_is_no_truncation(tmp_path, read):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    expected = read_audio(path)
    for unknown in (0xFFFFFFFF, 0x7FFFF000):  # ffmpeg, sox
        struct.pack_into("<I", data, 40, unknown)
        path.write_bytes(data)
        np.testing.assert_array_equal(read(path), expected)


@WAYS
def test_files_that_are_no_audio(tmp_path, read):
    def complaint(name, content=None):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "empty" in complaint("empty.wav", b"")
    assert "is not audio" in complaint("text.wav", b"this is text, long enough for any header\n" * 10)
    assert "is not audio" in complaint("text.flac", b"\x00" * 1000)
    assert "is not audio" in complaint("headerless.raw", b"\x00" * 1000)
    soundfile.write(tmp_path / "zero.wav", np.zeros(0, np.float32), 16000)
    assert "holds no samples" in complaint("zero.wav")
    for name, bad in (("nan.wav", np.nan), ("inf.wav", -np.inf)):
        soundfile.write(tmp_path / name, np.array([0.1, bad, 0.2], np.float32), 16000, subtype="FLOAT")
        assert "NaN or infinite" in complaint(name)


def test_paths_without_a_file(tmp_path):
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(ValueError, match=r"/missing.wav: no such file"):
        read_audio(tmp_path / "missing.wav")
    with pytest.raises(ValueError, match=r"/folder.wav: is not a file"):
        read_audio(tmp_path / "folder.wav")


def test_rates_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        resample(np.zeros(10, np.float32), 16000, 0)


@pytest.mark.parametrize("rate", [16000, 8000, 22050, 44100])
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_blocks_are_the_whole_audio(tmp_path, rate, suffix):
    rng = np.random.default_rng(0)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, 0.1 * rng.standard_normal((20 * rate, 2)), rate)
    blocks = list(audio_blocks(path, 16000))
    assert len(blocks) > 1 and max(map(len, blocks)) < 20 * 16000
    assert np.array_equal(np.concatenate(blocks), read_audio(path, 16000))


def test_blocks_before_a_truncation_are_given(tmp_path):
    samples = np.random.default_rng(0).integers(-3000, 3000, 40 * 16000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    found = []
    with pytest.raises(ValueError, match=r"a\.wav: is truncated"):
        found.extend(audio_blocks(tmp_path / "a.wav", 16000))
    joined = np.concatenate(found)
    assert len(joined) >= len(samples) // 2 - 30 and np.array_equal(joined, samples[: len(joined)])
    with pytest.raises(ValueError, match=r"a\.wav: is truncated"):
        read_audio(tmp_path / "a.wav", seconds=1.0)


def test_blocks_of_bad_input_raise_what_reading_raises(tmp_path):
    for content in (b"", b"no audio"):
        with pytest.raises(ValueError) as whole:
            read_audio(content)
        with pytest.raises(ValueError) as parts:
            list(audio_blocks(content))
        assert str(whole.value) == str(parts.value)
