"""Transcription: all kinds of input, the order of the results, and that the batch does not matter."""

import dataclasses
import io
import math
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import strategies as st

from rnnt.silence import speech_bounds, trim_silence
from rnnt.transcription import audio_files

RATE = 16000


def test_a_transcript_says_what_was_emitted_and_when(recognizer, expected, utterances):
    for transcript, samples in zip(expected, utterances):
        assert transcript.text == " ".join("abc"[token] for token in transcript.tokens)
        assert len(transcript.tokens) == len(transcript.frames) == len(transcript.times) == len(transcript.log_probs)
        assert transcript.seconds == len(samples) / RATE
        assert transcript.frames == sorted(transcript.frames)
        assert transcript.times == [pytest.approx(0.06 * frame, abs=1e-3) for frame in transcript.frames]
        assert all(0 <= time <= transcript.seconds for time in transcript.times)
        assert all(-20 < log_prob <= 0 for log_prob in transcript.log_probs)
    assert recognizer.frame_seconds == pytest.approx(0.06)


@pytest.mark.parametrize("batch_size", [1, 3, 7, None])
def test_neither_batch_nor_order_matters(recognizer, expected, batch_size, utterances, same):
    order = [4, 0, 6, 2, 3, 1, 5]
    for i, transcript in zip(order, recognizer.transcribe((utterances[i] for i in order), batch_size)):
        same(transcript, expected[i])


def test_long_recordings_do_not_share_a_batch(recognizer, expected, monkeypatch, utterances, same):
    """A folder of hour-long files, or one among short ones, takes no more memory than the longest file."""
    monkeypatch.setattr("rnnt.transcription.BATCH_SECONDS", 3)
    sizes, listen = [], recognizer.listen

    def watched(batch):
        sizes.append(sorted((batch.input_lengths / RATE).tolist()))
        return listen(batch)

    monkeypatch.setattr(recognizer, "listen", watched)
    for result, alone in zip(recognizer.transcribe(utterances, 16), expected):
        same(result, alone)
    assert sizes == [pytest.approx(x) for x in ([0.05, 0.2, 0.7], [1.0, 1.3], [2.0], [2.9])]


def test_the_limit_of_symbols_is_that_of_a_segment(make, speech):
    """A long recording is not truncated for its length, and a truncated transcript is marked as such."""
    recognizer = make(decoding={"max_symbols_per_frame": 1, "max_symbols": 20})
    with torch.no_grad():
        recognizer.model.joint.output.bias[-1] = -1000  # never blank: a symbol a frame, 16.7 a second
    one, minute = (np.tile(speech(2, 1), n)[: int(s * RATE)] for n, s in ((1, 1.1), (30, 60)))
    long, short = recognizer.transcribe([minute, one])
    assert len(short.tokens) == 19 and not short.truncated and not any(x.truncated for x in short.segments)
    assert len(long.segments) >= 3 and len(long.tokens) == 20 * len(long.segments) and long.truncated
    assert long.segments[-1].end == 60 and all(x.truncated for x in long.segments)


def test_files_and_arrays_of_every_kind_give_the_same(recognizer, expected, tmp_path, utterances, same):
    samples, transcript = utterances[2], expected[2]
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    soundfile.write(tmp_path / "a.flac", samples, RATE)
    floats = samples.astype(np.float32) / 32768
    kinds = [
        tmp_path / "a.wav", str(tmp_path / "a.flac"), floats, floats.astype(np.float64), floats.tolist(),
        torch.from_numpy(samples), torch.from_numpy(floats).requires_grad_(), samples[::-1].copy()[::-1],
    ]  # fmt: skip
    for result in recognizer.transcribe(kinds):
        rounded = {name: getattr(result, name) for name in ("log_probs", "words", "symbols")}
        assert result == dataclasses.replace(transcript, **rounded)
        same(result, transcript)


def test_a_single_input_is_taken_as_one(recognizer, expected, tmp_path, utterances, same):
    samples, path = utterances[2], tmp_path / "a.flac"
    soundfile.write(path, samples, RATE)
    floats = samples.astype(np.float32) / 32768
    with path.open("rb") as file:
        for item in (
            path, str(path), np.str_(path), path.read_bytes(), bytearray(path.read_bytes()), file,
            io.BytesIO(path.read_bytes()), samples, floats, floats.tolist(), tuple(floats.tolist()), list(floats),
            torch.from_numpy(samples), torch.from_numpy(floats), samples.astype(">i2"),
        ):  # fmt: skip
            (result,) = recognizer.transcribe(item)
            same(result, expected[2])
    ((found, result),) = recognizer.transcribe_files(path)
    assert found == path
    same(result, expected[2])
    several = [samples[:8000], samples[8000:16000]]
    for items in (np.stack(several), torch.from_numpy(np.stack(several)), tuple(several), iter(several)):
        assert len(recognizer.transcribe(items)) == 2
    assert len(recognizer.transcribe([path, samples, path.read_bytes()])) == 3


@pytest.mark.parametrize("kind", [np.float16, torch.float16, torch.bfloat16, torch.float64])
def test_waveforms_of_every_float_type(recognizer, utterances, kind):
    floats = torch.from_numpy(utterances[2].astype(np.float32) / 32768)
    item = floats.numpy().astype(kind) if kind is np.float16 else floats.to(kind)
    rounded = np.clip(np.rint(np.array(item.tolist()) * 32768), -32768, 32767).astype(np.int16)
    (expected,) = recognizer.transcribe(rounded)
    for inputs in (item, [item]):
        (result,) = recognizer.transcribe(inputs)
        assert result.tokens == expected.tokens and result.log_probs == pytest.approx(expected.log_probs, abs=1e-4)


def test_a_file_of_another_rate_is_resampled(recognizer, tmp_path, utterances):
    soundfile.write(tmp_path / "a.wav", np.stack([utterances[2]] * 2, 1), 8000)
    (transcript,) = recognizer.transcribe([tmp_path / "a.wav"])
    assert transcript.seconds == pytest.approx(2 * len(utterances[2]) / RATE)


def test_nothing_gives_nothing(recognizer):
    assert recognizer.transcribe([]) == []


@pytest.mark.parametrize("length", [1, 100, 159, 161])
def test_the_shortest_waveforms_have_a_transcript(recognizer, length, utterances):
    (transcript,) = recognizer.transcribe([utterances[0][:length]])
    assert transcript.seconds == length / RATE


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.zeros((2, 100), np.float32), r"input 1: a waveform must be \(N,\) with N > 0, not \(2, 100\)"),
        (np.zeros(0, np.float32), r"input 1: a waveform must be \(N,\)"),
        (np.zeros(10, np.int32), "input 1: a waveform must be int16 or float in .*, not int32"),
        (np.array([0.1, np.nan]), "input 1: a waveform holds NaN or infinity"),
        (np.full(1000, 3000.0, np.float32), "input 1: a waveform holds samples of up to 3000, but full scale is 1"),
        (np.full(1000, 3000.0, np.float16), "input 1: a waveform holds samples of up to 3000"),
        (torch.full((1000,), 3000.0).bfloat16(), "input 1: a waveform holds samples of up to"),
        (np.tile(np.float32([2, -2]), 8000), "input 1: a waveform is too loud"),
        (b"no audio", "input 1: is not audio"),
        (io.BytesIO(b""), "input 1: is empty"),
        (torch.tensor(0.5), r"input 1: a waveform must be \(N,\)"),
        (Path("gone.wav"), r"gone\.wav: no such file"),
        (torch.tensor([0.1, math.inf]), "input 1: a waveform holds NaN"),
        ("gone.wav", r"gone\.wav: no such file"),
    ],
)
def test_an_input_that_cannot_be_read_is_named(recognizer, item, message, utterances):
    with pytest.raises(ValueError, match=message):
        recognizer.transcribe([utterances[0], item])


def test_files_are_transcribed_one_bad_one_or_not(recognizer, expected, tmp_path, utterances, same):
    paths = []
    for i in range(5):
        paths.append(tmp_path / f"{i}.wav")
        soundfile.write(paths[-1], utterances[i], RATE)
    paths[1].write_bytes(b"no audio")
    paths[3].unlink()
    for size in (1, 2, 16):
        results = list(recognizer.transcribe_files(paths, size))
        assert [path for path, _ in results] == paths
        for i, (path, result) in enumerate(results):
            if i in (1, 3):
                assert isinstance(result, ValueError) and str(path) in str(result)
            else:
                same(result, expected[i])


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate")]
)
def test_a_file_too_long_for_the_memory_leaves_the_others(
    recognizer, expected, tmp_path, utterances, same, monkeypatch, error
):
    paths = [tmp_path / f"{i}.wav" for i in range(4)]
    for path, samples in zip(paths, utterances):
        soundfile.write(path, samples, RATE)
    longest = max(map(len, utterances[:4]))
    listen = recognizer.listen

    def short_of_memory(batch):
        if max(batch.input_lengths) >= longest:
            raise error
        return listen(batch)

    monkeypatch.setattr(recognizer, "listen", short_of_memory)
    for (path, result), samples, alone in zip(recognizer.transcribe_files(paths), utterances, expected):
        if len(samples) == longest:
            assert str(result) == f"{path}: is too long for the memory of this machine; split it"
        else:
            same(result, alone)
    monkeypatch.setattr(recognizer, "listen", lambda batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a bug is no bad file
        list(recognizer.transcribe_files(paths))


def test_names_that_no_file_can_have_and_files_of_one_stem(recognizer, tmp_path, utterances):
    for name in ("a.wav", "a.flac", "a.aiff"):
        soundfile.write(tmp_path / name, utterances[2], RATE)
    paths = [tmp_path / name for name in ("a.wav", "zero\0byte.wav", "a.flac", "half\ud83d.wav", "x" * 300, "a.aiff")]
    results = list(recognizer.transcribe_files(paths))
    assert [path for path, _ in results] == paths
    assert [path for path, result in results if isinstance(result, (ValueError, OSError))] == [*paths[1:5:2], paths[4]]
    assert len({result.text for _, result in results[::5]}) == 1


def test_folders_are_searched_for_audio(tmp_path):
    for name in ("b/2.FLAC", "b/1.wav", "a.mp3", "b/c/notes.txt", "b/c/3.ogg", "b/._2.FLAC", "b/c/4.m4a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = audio_files([tmp_path / "b", tmp_path / "a.mp3"])
    assert [path.name for path in found] == ["1.wav", "2.FLAC", "3.ogg", "4.m4a", "a.mp3"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no audio files"):
        audio_files([tmp_path / "a.mp3", tmp_path / "empty"])


def test_linked_folders_are_entered_once(tmp_path):
    """Also through links that lead in a circle, upwards, to themselves, or nowhere."""
    for name in ("root/a/1.wav", "root/b/2.wav", "far/3.wav", "far/deep/4.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = tmp_path / "root"
    (root / "far").symlink_to(tmp_path / "far")
    (root / "again").symlink_to(tmp_path / "far")
    (root / "a" / "up").symlink_to(root)
    (root / "above").symlink_to(tmp_path)
    (tmp_path / "far" / "back").symlink_to(root)
    (tmp_path / "far" / "deep" / "same").symlink_to(tmp_path / "far" / "deep")
    (root / "self").symlink_to(root / "self")
    (root / "nowhere").symlink_to(tmp_path / "gone")
    (root / "5.wav").symlink_to(tmp_path / "far" / "3.wav")
    found = audio_files([root])
    names = sorted(path.name for path in found)
    assert names == ["1.wav", "2.wav", "3.wav", "4.wav", "5.wav"]
    assert root / "a" / "1.wav" in found and root / "b" / "2.wav" in found
    (tmp_path / "link").symlink_to(root)
    assert sorted(path.name for path in audio_files([tmp_path / "link"])) == names


def test_a_link_to_a_file_that_is_gone_is_named(recognizer, tmp_path):
    (tmp_path / "a.wav").symlink_to(tmp_path / "gone.wav")
    ((path, error),) = recognizer.transcribe_files(audio_files([tmp_path]))
    assert path == tmp_path / "a.wav" and "a.wav: no such file" in str(error)


def test_trimmed_silence_does_not_shift_the_times(recognizer, utterances, make, expected):
    silent = np.zeros(RATE, np.int16)
    samples = np.concatenate([silent, utterances[2], silent])
    start, end = speech_bounds(samples)
    assert RATE - 2048 <= start <= RATE + 4000 and len(samples) - RATE - 4000 <= end <= len(samples) - RATE + 2048
    assert np.array_equal(trim_silence(samples), samples[start:end])
    (expected,) = recognizer.transcribe([samples[start:end]])
    (transcript,) = make(features={"trim_silence": True}).transcribe([samples])
    assert (transcript.tokens, transcript.frames) == (expected.tokens, expected.frames)
    np.testing.assert_allclose(transcript.times, np.array(expected.times) + start / RATE, atol=2e-3)
    assert transcript.seconds == len(samples) / RATE


def long_recording(speech, gaps=(0.3, 2.5, 0.0, 4.0, 31.0, 1.0), seed=0):
    """Bursts of noise with pauses between."""
    parts = [speech(5 + i, seed + i) for i in range(len(gaps))]
    return np.concatenate([x for part, gap in zip(parts, gaps) for x in (part, np.zeros(round(gap * RATE), np.int16))])


def check_account(transcript):
    """Segments and what is left out cover the recording exactly; the segments' texts and tokens make up the whole."""
    stretches = sorted([*((x.start, x.end) for x in transcript.segments), *map(tuple, transcript.left_out)])
    assert [start for start, _ in stretches] == [0, *(end for _, end in stretches[:-1])]
    assert stretches[-1][1] == transcript.seconds and all(start < end for start, end in stretches)
    assert " ".join(x.text for x in transcript.segments) == transcript.text
    assert all(x.text for x in transcript.segments)
    for time in transcript.times:
        assert any(x.start - 1e-3 <= time <= x.end + 1e-3 for x in transcript.segments)
    assert transcript.frames == sorted(transcript.frames)
    np.testing.assert_allclose(transcript.times, [0.06 * frame for frame in transcript.frames], atol=1.1e-3)


def test_each_segment_of_a_long_recording_has_the_text_that_it_has_alone(recognizer, speech):
    samples = long_recording(speech)
    (transcript,) = recognizer.transcribe([samples])
    check_account(transcript)
    assert len(transcript.segments) >= 4 and sum(end - start for start, end in transcript.left_out) > 30
    for segment in transcript.segments:
        (alone,) = recognizer.transcribe(samples[round(segment.start * RATE) : round(segment.end * RATE)])
        assert alone.text == segment.text


@hypothesis.settings(max_examples=8)
@hypothesis.given(st.lists(st.floats(0, 12), min_size=1, max_size=6), st.integers(0, 99))
def test_every_second_of_a_recording_is_accounted_for(recognizer, speech, gaps, seed):
    for transcript in recognizer.transcribe([long_recording(speech, gaps, seed), speech(1, seed)]):
        check_account(transcript)


@pytest.mark.parametrize("rate", [RATE, 22050])
def test_long_and_short_files_together_give_what_each_gives_alone(recognizer, speech, utterances, tmp_path, same, rate):
    short, long = (utterances[i] for i in (0, 2, 4)), (long_recording(speech), long_recording(speech, (1, 1, 1, 9), 5))
    waves = [next(short), long[0], next(short), long[1], next(short)]
    paths = [tmp_path / f"{i}.flac" for i in range(5)]
    for path, samples in zip(paths, waves):
        soundfile.write(path, samples, rate)
    for size in (1, 3, 16):
        results = list(recognizer.transcribe_files(paths, size))
        assert [path for path, _ in results] == paths
        for (_, result), (alone,) in zip(results, map(recognizer.transcribe, paths)):
            same(result, alone)
            assert (result.segments, result.left_out) == (alone.segments, alone.left_out)
    if rate == RATE:
        for result, samples in zip(recognizer.transcribe(waves), waves):
            same(result, recognizer.transcribe(samples)[0])


def test_the_first_results_do_not_wait_for_the_last_files(recognizer, utterances, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, utterances[1], RATE)
    many = [path] * 400
    results = recognizer.transcribe_files(many, 2)
    opened = []
    original = Path.stat

    def watched(self, **options):
        opened.append(self)
        return original(self, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "stat", watched)
        next(results)
        results.close()
    assert len(opened) < 100


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_long_file_that_ends_early_keeps_the_text_before(recognizer, speech, tmp_path, name):
    samples = long_recording(speech, (1, 1, 1, 1, 1, 1, 1, 1))
    path = tmp_path / name
    soundfile.write(path, samples, RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    ((_, result),) = recognizer.transcribe_files([path])
    assert str(path) in result.error and "truncated" in result.error
    assert 0.6 * len(samples) < result.seconds * RATE <= 0.76 * len(samples)
    check_account(result)
    (whole,) = recognizer.transcribe([samples])
    count = sum(1 for x in result.segments if x.end < result.seconds - 10)
    assert count >= 2 and whole.segments[:count] == result.segments[:count]
    with pytest.raises(ValueError, match="truncated"):
        recognizer.transcribe([path])
    path.write_bytes(content[: len(content) // 4])  # 25 s: too short to be divided
    ((_, result),) = recognizer.transcribe_files([path])
    assert isinstance(result, ValueError) and "truncated" in str(result)
