"""The learning curve is drawn from whatever a run has logged, and the picture is whole or absent."""

import json
import math

import numpy as np
import pytest
from matplotlib.image import imread

from rnnt.plot import _read, _smoothed, learning_curve


def write_run(path, steps: int = 200, every: int = 50, tail: str = "") -> None:
    rng = np.random.default_rng(0)
    lines = []
    for step in range(1, steps + 1):
        loss = 80 * math.exp(-step / 40) + 0.5 + rng.exponential(0.5)
        lines.append({"step": step, "epoch": step / 50, "loss": loss, "lr": 1e-3, "seconds": 0.1})
        if step % every == 0:
            lines.append({"step": step, "valid_wer": 1.2 * math.exp(-step / 60), "valid_loss": loss})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)


def has_colour(pixels: np.ndarray, red: float, green: float, blue: float) -> bool:
    return bool((np.abs(pixels[..., :3] - [red, green, blue]).max(axis=-1) < 0.02).any())


def test_picture_shows_both_curves(tmp_path):
    write_run(tmp_path / "metrics.jsonl")
    learning_curve(tmp_path / "metrics.jsonl", tmp_path / "curve.png")
    pixels = imread(tmp_path / "curve.png")
    assert pixels.shape[:2] == (720, 960)
    half = len(pixels) // 2
    assert has_colour(pixels[:half], 0, 0x72 / 255, 0xB2 / 255)
    assert has_colour(pixels[half:], 0xD5 / 255, 0x5E / 255, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "metrics.jsonl"]


@pytest.mark.parametrize("tail", ['{"step": 201, "lo', '{"step": 201, "loss": null}\n', "\n", "7\n", '{"step": "\xff'])
def test_lines_that_are_not_whole_are_passed_over(tmp_path, tail):
    write_run(tmp_path / "metrics.jsonl", tail=tail)
    loss, error_rate, _ = _read(tmp_path / "metrics.jsonl")
    assert loss.shape == (200, 2) and error_rate.shape == (4, 2)
    assert loss[-1, 0] == 200 and error_rate[0, 1] == pytest.approx(1.2 * math.exp(-50 / 60))


@pytest.mark.parametrize(
    "lines",
    [
        [{"step": 1, "loss": 3.0}],
        [{"step": 1, "loss": -1.0}, {"step": 2, "loss": 0.0}],
        [{"step": 5, "valid_wer": 0.0, "valid_loss": 0.1}],
        [{"step": 1, "loss": 3.0}, {"step": 1, "valid_wer": 1.7}],
        [{"step": 1, "valid_wer": None}, {"step": 2, "loss": 2.0}],
    ],
)
def test_short_and_odd_runs(tmp_path, lines):
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    learning_curve(tmp_path / "metrics.jsonl", tmp_path / "curve.png")
    assert imread(tmp_path / "curve.png").std() > 0


def test_the_validations_have_the_label_of_their_rate(tmp_path):
    for name in ("wer", "per"):
        (tmp_path / name).write_text(json.dumps({"step": 7, f"valid_{name}": 0.25}))
        _, rates, label = _read(tmp_path / name)
        assert rates.tolist() == [[7, 0.25]] and label == name.upper()


@pytest.mark.parametrize("text", ["", "not json\n", '{"step": 1, "loss": null}\n', '{"loss": 1.0}\n'])
def test_nothing_to_draw(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(ValueError, match="no losses and no validations"):
        learning_curve(tmp_path / "metrics.jsonl", tmp_path / "curve.png")
    assert not (tmp_path / "curve.png").exists()


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        learning_curve(tmp_path / "metrics.jsonl", tmp_path / "curve.png")
    write_run(tmp_path / "metrics.jsonl", steps=3)
    with pytest.raises(FileNotFoundError):
        learning_curve(tmp_path / "metrics.jsonl", tmp_path / "absent" / "curve.png")


def test_picture_that_cannot_be_drawn_leaves_the_old_one(tmp_path, monkeypatch):
    write_run(tmp_path / "metrics.jsonl", steps=3)
    (tmp_path / "curve.png").write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="No space left"):
        learning_curve(tmp_path / "metrics.jsonl", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("count", [1, 2, 33, 67, 500])
def test_smoothing_against_plain_means(count):
    values = np.random.default_rng(count).normal(size=count)
    half = int(0.03 * count / 2)
    plain = [values[max(i - half, 0) : i + half + 1].mean() for i in range(count)]
    np.testing.assert_allclose(_smoothed(values), plain, rtol=1e-12, atol=1e-14)
