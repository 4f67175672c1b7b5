"""MP3: files of any length whatever their header tells, segments, joined files, and tags."""

import io

import numpy as np
import pytest
import soundfile

from rnnt.audio import read_audio
from rnnt.audio.mpeg import find_tracks, skip_tags, starts_with_mpeg

RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000]


def speech(rate, seconds=12.0, silent=2.0):
    """Noise that gets louder and softer after a silent start, so that frames have very different sizes."""
    count = round(rate * seconds)
    level = 0.1 * np.abs(np.sin(2 * np.pi * 0.7 * np.arange(count) / rate))
    samples = level * np.random.default_rng(0).normal(0, 1, count)
    samples[: round(rate * silent)] = 0
    return samples.astype(np.float32)


def written(rate, samples=None, mode="VARIABLE"):
    file = io.BytesIO()
    samples = speech(rate) if samples is None else samples
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(file, "w", rate, channels, format="MP3", bitrate_mode=mode, compression_level=0.3) as out:
        out.write(samples)
    return file.getvalue()


def without_info(content):
    """Remove the first frame, which holds the number of frames."""
    assert b"Xing" in content[:50] or b"Info" in content[:50]
    return content[content.index(content[:2], 4) :]


def place_of(stretch, samples):
    """The place where a stretch of samples correlates most with samples."""
    spectrum = np.fft.rfft(samples) * np.fft.rfft(stretch, len(samples)).conj()
    return np.argmax(np.fft.irfft(spectrum, len(samples))[: len(samples) - len(stretch) + 1])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT", "AVERAGE"])
@pytest.mark.parametrize("silent", [0.0, 2.0])
def test_the_length_is_that_of_the_frames(tmp_path, rate, mode, silent):
    """Without the frame that holds their number, the decoder guesses the length from the size of the first frame."""
    samples = speech(rate, 4.0, silent)
    content = written(rate, samples, mode)
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    whole = read_audio(path, rate)
    assert len(whole) == len(samples)
    for source in (without_info(content), content[:4] + b"\xff" + content[5:]):
        path.write_bytes(source)
        for read in (read_audio(path, rate), read_audio(source, rate)):
            assert len(whole) <= len(read) <= len(whole) + 3 * 1152
            end = whole[-2 * rate :].astype(float)
            aligned = read[place_of(end, read.astype(float)) :][: len(end)]
            assert np.corrcoef(aligned, end)[0, 1] > 0.99  # the end is there


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("info", [True, False])
def test_segments_equal_the_whole_from_their_first_sample(rate, info):
    content = written(rate)
    content = content if info else without_info(content)
    whole = read_audio(content, rate).astype(int)
    for start in (0.01, 2.5, 5.0, 7.77, 11.5):
        segment = read_audio(content, rate, start=start, seconds=0.3)
        expected = whole[round(start * rate) :][: len(segment)]
        assert len(segment) == round(0.3 * rate)
        assert np.abs(segment - expected).max() <= 1


@pytest.mark.parametrize("frames", [2**31 - 1, 2**32 - 1, 10**6])
def test_a_number_of_frames_that_is_claimed_is_never_allocated(frames):
    content = bytearray(written(16000))
    at = content.index(b"Xing") if b"Xing" in content[:50] else content.index(b"Info")
    content[at + 8 : at + 12] = frames.to_bytes(4, "big")
    with pytest.raises(ValueError, match=rf"a.mp3: is truncated \(its header promises {frames} MPEG frames"):
        read_audio(bytes(content), name="a.mp3")


@pytest.mark.parametrize("info", [True, False])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_file_that_ends_early_is_truncated(info, kept):
    content = written(16000)
    content = content if info else without_info(content)
    with pytest.raises(ValueError, match="is truncated"):
        read_audio(content[: int(kept * len(content)) + 7])


def test_a_silent_start_is_no_truncation():
    silent = speech(16000, silent=6.0)
    assert abs(len(read_audio(without_info(written(16000, silent)))) - len(silent)) <= 3 * 1152


@pytest.mark.parametrize("info", [True, False])
def test_joined_files_are_read_to_the_end(info):
    one, two = written(16000), written(16000, speech(16000, 3.0, 0.0))
    if not info:
        one, two = without_info(one), without_info(two)
    separate = len(read_audio(one)) + len(read_audio(two))
    assert abs(len(read_audio(one + two)) - separate) <= 3 * 1152
    with pytest.raises(ValueError, match="changes its sample rate from 16000 to 44100 Hz; split it there"):
        read_audio(one + written(44100))


def test_tags_are_passed_over():
    content = written(16000)
    whole = read_audio(content)
    picture = b"ID3\x03\x00\x00" + bytes([0, 8, 0, 0]) + b"\xff\xfb\x90" * 40000 + bytes(131072 - 120000)
    tag = b"TAG" + bytes(125)
    assert skip_tags(picture + content) == len(picture)
    for source in (picture + content, content + tag, picture + content + tag):
        np.testing.assert_array_equal(read_audio(source), whole)


def test_stereo_and_mono_have_the_same_length():
    samples = np.stack([speech(44100, 3.0), 0.5 * speech(44100, 3.0)], axis=1)
    content = written(44100, samples)
    assert len(read_audio(content, 44100)) == len(samples)
    assert abs(len(read_audio(without_info(content), 44100)) - len(samples)) <= 3 * 1152


def test_random_bytes_are_no_mpeg():
    content = np.random.default_rng(0).integers(0, 256, 100_000).astype(np.uint8).tobytes()
    assert not starts_with_mpeg(content)
    assert find_tracks(content) == []
    assert find_tracks(b"") == []


def test_a_hole_in_a_file_is_damage():
    content = without_info(written(16000))
    with pytest.raises(ValueError, match=r"is (damaged|truncated)"):
        read_audio(content[:20000] + bytes(5000) + content[20000:])
