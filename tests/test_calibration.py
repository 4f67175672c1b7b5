"""Temperature and delays on data whose answer is known, and files that are damaged."""

import json

import numpy as np
import pytest

from rnnt.calibration import (
    Calibration,
    calibration_error,
    calibration_json,
    fit_temperature,
    read_calibration,
)
from rnnt.sounds import Sounds, described_width


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_spoiled_the_probabilities_is_found(temperature):
    rng = np.random.default_rng(0)
    odds = rng.normal(1.5, 1.5, 40_000)
    correct = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    probabilities = 1 / (1 + np.exp(-odds * temperature))
    fitted = fit_temperature(probabilities, correct)
    assert fitted == pytest.approx(temperature, rel=0.05)
    calibration = Calibration(fitted)
    confidences = calibration.confidences(probabilities[:20_000])
    assert calibration_error(confidences, correct[:20_000]) < 0.02
    np.testing.assert_allclose(confidences, 1 / (1 + np.exp(-odds[:20_000])), atol=0.02)


def test_odd_sets_of_words_give_a_usable_temperature():
    assert fit_temperature([], []) == 1.0
    for probabilities, correct in (([1.0, 0.0], [True, False]), ([0.0], [True]), ([0.9] * 5, [True] * 5)):
        temperature = fit_temperature(probabilities, correct)
        assert 0.05 <= temperature <= 20.1
        low, high = Calibration(temperature).confidences([0.0, 1.0])
        assert 0 <= low <= high <= 1


def test_the_calibration_error_of_two_bins():
    # 0.95 is right once of twice, 0.15 never: (|0.95 - 0.5| * 2 + 0.15) / 3
    assert calibration_error([0.95, 0.95, 0.15], [True, False, False]) == pytest.approx((0.9 + 0.15) / 3)
    assert calibration_error([], []) == 0


def sounds():
    weights = np.random.default_rng(0).standard_normal((5, described_width(40))).astype(np.float32)
    return Sounds("é", weights, np.zeros(5, np.float32), np.full(5, 0.5, np.float32))


def test_a_calibration_is_written_and_read(tmp_path):
    path = tmp_path / "calibration.json"
    assert read_calibration(path, 40) == Calibration()
    for calibration in (Calibration(1.5, 0.1, -0.2), Calibration(1.5, 0.1, -0.2, sounds())):
        path.write_text(calibration_json(calibration), "utf-8")
        assert read_calibration(path, 40) == calibration


def test_an_earlier_calibration_without_sounds_is_read(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text('{"temperature": 1.5, "start": 0.1, "end": -0.2, "starts": {"0": 0.1}, "ends": {}}')
    assert read_calibration(path, 40) == Calibration(1.5, 0.1, -0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0}, {"temperature": "hot"}, {"start": 1e9}, {"temperature": float("nan")}, {"end": None},
        {"sounds": 1}, {"sounds": {}}, {"sounds": sounds().tree() | {"stay": [2.0] * 5}}, {"start": float("nan")},
    ],
)  # fmt: skip
def test_a_damaged_file_gives_one_line(tmp_path, changes):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(json.loads(calibration_json(Calibration())) | changes))
    with pytest.raises(ValueError, match="calibrat"):
        read_calibration(path, 40)
    for text in ("{", "[" * 100_000, " " * 5_000_000):
        path.write_text(text)
        with pytest.raises(ValueError, match="damaged"):
            read_calibration(path, 40)
