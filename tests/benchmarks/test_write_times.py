"""The times of words that write_times writes are those that the audio is made of."""

import sys

import numpy as np
import soundfile
import write_times

from rnnt.known_times import read_times

RATE = 16000


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["write_times.py", *map(str, arguments)])
    write_times.main()


def test_digits_end_with_their_recordings(call, tmp_path, monkeypatch):
    recordings, lengths = tmp_path / "recordings", {}
    recordings.mkdir()
    for digit, word in enumerate(write_times.digits.WORDS):
        lengths[word] = (1600 + 160 * digit) / 8000
        for index in range(6):
            t = np.arange(round(lengths[word] * 8000)) / 8000
            soundfile.write(recordings / f"{digit}_ann_{index}.wav", 0.5 * np.sin(2 * np.pi * 500 * t), 8000)
    options = "train_utterances=2", "test_utterances=3", "--workers", 1
    assert call("prepare", "digits", recordings, "--out", tmp_path / "data", *options) == 0
    run(monkeypatch, tmp_path / "data" / "test", "--digits", recordings)
    found = read_times(tmp_path / "data" / "test")
    dataset = write_times.Dataset(tmp_path / "data" / "test")
    assert sorted(found) == sorted(dataset.id(index) for index in range(3))
    for utterance in dataset:
        loud = np.abs(utterance.input).astype(float) > 3000
        for word, start, end in found[utterance.id]:
            assert abs(end - start - lengths[word]) < 1e-6
            inside = loud[round(start * RATE) + 40 : round(end * RATE) - 40]
            assert inside.mean() > 0.8
        assert [word for word, _, _ in found[utterance.id]] == utterance.text.split()


def test_synthetic_words_are_in_order_within_the_audio(call, tmp_path, monkeypatch):
    sizes = [f"{name}_utterances=4" for name in ("train", "valid", "test")]
    assert call("prepare", "synthetic", "-", "--out", tmp_path, *sizes, "--workers", 1) == 0
    run(monkeypatch, tmp_path / "valid", "--synthetic")
    found = read_times(tmp_path / "valid")
    known = [utterance for utterance in write_times.Dataset(tmp_path / "valid") if utterance.id in found]
    assert known
    for utterance in known:
        bounds = [bound for _, *bounds in found[utterance.id] for bound in bounds]
        assert bounds == sorted(bounds) and bounds[-1] <= len(utterance.input) / RATE
        assert " ".join(word for word, _, _ in found[utterance.id]) == utterance.text
