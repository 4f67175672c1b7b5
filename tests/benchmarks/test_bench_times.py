"""The known times of bench_times are those of the audio, and its errors are differences from them."""

import sys
from pathlib import Path

import bench_times
import numpy as np
import pytest
import soundfile

QUIET = 800  # samples
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def digits(tmp_path):
    """Loud tones of different lengths, quiet at the end, as recordings of the digits."""
    for digit in range(10):
        for index in range(6):
            t = np.arange(1600 + 160 * digit + 16 * index) / 8000
            tone = np.append(0.5 * np.sin(2 * np.pi * 500 * t), np.zeros(QUIET))
            soundfile.write(tmp_path / f"{digit}_ann_{index}.wav", tone, 8000)
    return tmp_path


def test_joined_digits_are_loud_from_their_starts_until_the_quiet_at_their_ends(digits):
    for samples, text, bounds in bench_times.joined_digits(digits, 5, 8000):
        assert len(bounds) == len(text.split())
        inside = np.zeros(len(samples), bool)
        for start, end in bounds:
            inside[round(8000 * start) : round(8000 * end) - QUIET] = True
        loud = np.convolve(np.abs(samples / 32768.0), np.ones(16) / 16, "same") > 0.2
        assert (loud == inside).mean() > 0.97


def test_errors_are_differences_from_known_times(recognizer, utterances, expected):
    transcripts = [each for each in expected if each.text]
    known = [
        (samples, each.text, [(word.start - 0.1, word.end + 0.2) for word in each.words])
        for samples, each in zip(utterances, expected)
        if each.text
    ]
    known.append((utterances[0], "something else", [(0.0, 0.1)] * 2))
    found, right = bench_times.errors(recognizer, known)
    assert right == len(transcripts)
    np.testing.assert_allclose(found["words"], [(0.1, -0.2)] * sum(len(each.words) for each in transcripts), atol=2e-3)
    rows = bench_times.time_rows(recognizer, known, "here")
    assert rows[0]["start_mean_ms"] == pytest.approx(100, abs=2) and rows[0]["end_95_ms"] == pytest.approx(200, abs=2)
    assert rows[2]["start_median_ms"] == pytest.approx(0, abs=1e-6)


def test_the_script_prints_confidences_and_costs(monkeypatch, capsys):
    data, model = GOLDEN / "data" / "valid", str(GOLDEN / "model")
    tiny = ["--cost", "small", "--batch", "1", "--seconds", "1", "--repeats", "1"]
    monkeypatch.setattr(
        sys, "argv", ["bench_times.py", model, "--calibrate", str(data), "--confidence", str(data), *tiny]
    )
    bench_times.main()
    out = capsys.readouterr().out
    assert "measured confidence" in out and "area_under_roc" in out and "measured alignment" in out
