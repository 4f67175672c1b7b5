"""Folders of recordings: decoded once, found again, made anew if they change; what is left out is named."""

import os
import threading

import numpy as np
import pytest
import soundfile

from rnnt import sound_folder
from rnnt.audio import read_audio
from rnnt.sound_folder import open_sound_folder


def write(path, seconds=0.5, rate=16000, channels=1, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, 0.1 * rng.standard_normal((round(seconds * rate), channels)), rate)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "sounds" / "noise"
    write(folder / "b.wav", 0.5, 44100, 2, 1)
    write(folder / "a.flac", 0.3, 8000, 1, 2)
    write(folder / "deep" / "c.ogg", 0.7, 16000, 1, 3)
    (folder / "readme.txt").write_text("no audio")
    return folder


@pytest.fixture
def opened(folder, tmp_path):
    return lambda rate=16000, kind="noise", **limits: open_sound_folder(folder, rate, kind, tmp_path / "run", **limits)


@pytest.fixture
def decoded(monkeypatch):
    """The recordings that have been decoded."""
    names, decode = [], sound_folder.audio_blocks
    monkeypatch.setattr(sound_folder, "audio_blocks", lambda path, *of: names.append(path.name) or decode(path, *of))
    return names


def test_recordings_of_any_format_rate_and_depth_are_read_as_the_project_reads_audio(folder, opened):
    for rate in (16000, 8000):
        sounds = opened(rate)
        assert [sound.name for sound in sounds.sounds] == ["a.flac", "b.wav", os.path.join("deep", "c.ogg")]
        for found, sound in zip(sounds, sounds.sounds):
            expected = read_audio(folder / sound.name, rate)
            assert found.dtype == np.int16 and len(found) == sound.length
            assert np.abs(found.astype(int) - expected).max() <= 1  # a resampler rounds blocks and wholes differently
            assert sound.power == pytest.approx(np.mean(found.astype(float) ** 2))
        assert not sounds.skipped and sounds.note == ""


def test_they_are_decoded_once(folder, opened, decoded):
    first = opened()
    assert decoded == ["a.flac", "b.wav", "c.ogg"]
    again = opened()
    assert len(decoded) == 3 and again.fingerprint == first.fingerprint
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    assert {path.name for path in (folder.parent / "noise-16000.noise").iterdir()} == {
        "samples.i16", "sounds.json", ".lock",
    }  # fmt: skip
    opened(8000)
    opened(kind="rooms")
    assert len(decoded) == 9  # in folders of their own
    opened()
    assert len(decoded) == 9


def test_a_change_of_the_folder_is_noticed(folder, opened, decoded):
    prints = [opened().fingerprint]
    write(folder / "a.flac", 0.3, 8000, 1, 4)
    os.utime(folder / "a.flac", (0, 0))
    prints.append(opened().fingerprint)
    (folder / "b.wav").unlink()
    prints.append(opened().fingerprint)
    assert len(set(prints)) == 3 and len(decoded) == 3 + 3 + 2
    os.utime(folder / "a.flac", (1, 1))
    assert opened().fingerprint == prints[-1] and len(decoded) == 10  # its contents are what they were
    with pytest.raises(ValueError, match="none of its 2 recordings can be used"):
        opened(least=2.0)


@pytest.mark.parametrize("name", ["samples.i16", "sounds.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"source": 1}'])
def test_damaged_files_are_made_again(folder, opened, decoded, name, content):
    expected = opened().fingerprint
    (folder.parent / "noise-16000.noise" / name).write_bytes(content)
    assert opened().fingerprint == expected and len(decoded) == 6
    assert len(opened()) == 3 and len(decoded) == 6


def test_the_samples_are_kept_elsewhere_if_nothing_can_be_written_next_to_the_folder(folder, opened, decoded, tmp_path):
    (folder.parent / "noise-16000.noise").write_text("in the way")
    opened()
    assert (tmp_path / "run" / "noise-16000.noise" / "samples.i16").exists()
    opened()
    assert len(decoded) == 3


def test_what_cannot_be_used_is_left_out_and_named(folder, opened):
    good = (folder / "b.wav").read_bytes()
    (folder / "cut.wav").write_bytes(good[: len(good) // 2])
    (folder / "text.wav").write_text("this is no audio")
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "silent.wav", np.zeros(8000), 16000)
    write(folder / "long.wav", 3)
    write(folder / "short.wav", 0.01)
    sounds = opened(least=0.1, most=2)
    assert [sound.name for sound in sounds.sounds] == ["a.flac", "b.wav", os.path.join("deep", "c.ogg")]
    assert [len(found) for found in sounds] == [sound.length for sound in sounds.sounds]
    np.testing.assert_allclose(sounds[1], read_audio(folder / "b.wav"), atol=1)
    reasons = dict(sounds.skipped)
    assert set(reasons) == {"cut.wav", "text.wav", "empty.wav", "silent.wav", "long.wav", "short.wav"}
    assert reasons["silent.wav"] == "silent.wav: is silent"
    assert reasons["long.wav"] == "long.wav: lasts 3.0 s, more than 2 s"
    assert reasons["short.wav"] == "short.wav: lasts 0.010 s, less than 0.1 s"
    assert sounds.note.startswith(f"{folder}: 6 of 9 recordings are left out (cut.wav: ")
    assert sounds.note.endswith("; and 3 more)") and "\n" not in sounds.note
    assert opened(least=0.1, most=2).skipped == sounds.skipped  # they are named again


def test_folders_that_give_nothing(tmp_path):
    def complaint(folder, kind="noise"):
        with pytest.raises(ValueError) as error:
            open_sound_folder(folder, 16000, kind, tmp_path / "run")
        return str(error.value)

    assert complaint(tmp_path / "none") == f"{tmp_path / 'none'}: is no folder; name one that holds recordings of noise"
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    assert complaint(tmp_path / "texts", "rooms").endswith(
        "holds no audio; name a folder of impulse responses of rooms"
    )
    (tmp_path / "bad").mkdir()
    soundfile.write(tmp_path / "bad" / "a.wav", np.zeros(8000), 16000)
    assert complaint(tmp_path / "bad").endswith("none of its 1 recordings can be used (a.wav: is silent)")


def test_processes_that_start_together_decode_once(opened, decoded):
    found = []
    threads = [threading.Thread(target=lambda: found.append(opened().fingerprint)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 4 and len(decoded) == 3


def test_soft_is_not_silent(tmp_path):
    """An impulse response is a few samples among zeros, and a microphone that nobody speaks into is not quite still."""
    sparse, hum = np.zeros(80000, np.int16), np.rint(3 * np.sin(np.arange(8000))).astype(np.int16)
    sparse[100] = 50
    dither = np.random.default_rng(0).integers(-1, 2, 8000).astype(np.int16)
    (tmp_path / "a").mkdir()
    for name, samples in {"sparse": sparse, "hum": hum, "dither": dither, "offset": dither + 500}.items():
        soundfile.write(tmp_path / "a" / f"{name}.wav", samples.astype(np.int16), 16000)
    sounds = open_sound_folder(tmp_path / "a", 16000, "rooms", tmp_path / "run")
    assert [sound.name for sound in sounds.sounds] == ["hum.wav", "sparse.wav"]
    assert [name for name, _ in sounds.skipped] == ["dither.wav", "offset.wav"]
