"""The recording, the spoilt texts and the random model that bench_align measures."""

import sys

import bench_align
import numpy as np
import pytest
import soundfile


@pytest.fixture
def digits(tmp_path):
    """Loud tones over faint noise, as recordings of the digits."""
    rng = np.random.default_rng(0)
    for digit in range(10):
        for index in range(6):
            t = np.arange(3200 + 160 * digit) / 8000
            tone = 0.5 * np.sin(2 * np.pi * 500 * t) * (np.abs(t - t[-1] / 2) < t[-1] / 3)
            soundfile.write(tmp_path / f"{digit}_ann_{index}.wav", tone + 1e-3 * rng.standard_normal(len(t)), 8000)
    return tmp_path


def test_known_words_are_loud_in_the_long_recording(digits):
    samples, words, bounds = bench_align.joined(digits, 1.0, 8000)
    assert len(words) == len(bounds) > 8 and samples.dtype == np.int16
    loud = np.abs(samples.astype(float)) > 3000
    for start, end in bounds:
        third = (end - start) / 3
        assert loud[round(8000 * (start + third)) : round(8000 * (end - third))].mean() > 0.5
    assert loud.sum() == sum(loud[round(8000 * start) : round(8000 * end)].sum() for start, end in bounds)


def test_spoilt_texts_say_which_words_are_right():
    words = [str(i) for i in range(1000)]
    text, places = bench_align.spoilt(words, 0.1)
    assert all(place is None or words[place] == word for word, place in zip(text, places))
    right = [place for place in places if place is not None]
    assert right == sorted(right) and 750 < len(right) < 850 and 150 < places.count(None) < 250
    assert bench_align.spoilt(words, 1e-9) == (words, list(range(1000)))


def test_the_random_model_emits_no_more_symbols_than_speech():
    recognizer = bench_align.random_model("demo")
    samples = bench_align.noise(0.2, 16000)
    assert len(samples) == 12 * 16000
    bench_align.weigh_blank(recognizer, samples)
    with recognizer.inference():
        tokens, _ = bench_align.hear(recognizer, bench_align.encode_windows(recognizer, samples))
    assert 0.05 < len(tokens) / 12 / bench_align.RATE <= 1


def test_the_script_prints_a_row_for_each_text(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_align.py", "--preset", "demo", "--minutes", "0.2"])
    bench_align.main()
    first, second = capsys.readouterr().out.splitlines()
    assert "measured text" in first and "took_s" in first and "measured other text" in second
