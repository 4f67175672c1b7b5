"""Calibration on prepared data: what it finds, saves and leaves out."""

from pathlib import Path

import numpy as np

import rnnt
from rnnt.calibration import Calibration
from rnnt.calibrator import calibrate, decode_aligned, save_calibration, scored_words
from rnnt.dataset import Dataset

GOLDEN = Path(__file__).parent / "golden"


def test_a_calibration_makes_the_confidences_better_and_is_loaded_with_the_model(tmp_path):
    model = rnnt.load(GOLDEN / "model")
    assert model.calibration == Calibration()
    dataset = Dataset(GOLDEN / "data" / "valid")
    decoded = list(decode_aligned(model, dataset))
    assert sorted(item.reference for item in decoded) == sorted(utterance.text for utterance in dataset)
    model.save(tmp_path / "model")
    model.calibration = calibrate(model, dataset)
    save_calibration(tmp_path / "model", model.calibration)
    assert rnnt.load(tmp_path / "model").calibration == model.calibration != Calibration()
    before, correct = scored_words(model, Calibration(), decoded)
    after, same = scored_words(model, model.calibration, decoded)
    assert len(before) == len(correct) > 0 and correct == same

    def loss(confidences):
        chosen = np.where(correct, confidences, 1 - np.array(confidences))
        return -np.log(chosen).mean()

    assert loss(after) <= loss(before)


def test_saving_other_weights_removes_the_calibration_of_the_earlier_ones(tmp_path):
    model = rnnt.load(GOLDEN / "model")
    model.calibration = Calibration(2.0, 0.1, -0.1)
    model.save(tmp_path / "model")
    assert rnnt.load(tmp_path / "model").calibration == model.calibration
    model.calibration = Calibration()
    model.save(tmp_path / "model")
    assert not (tmp_path / "model" / "calibration.json").exists()


def test_nothing_to_learn_from_gives_the_defaults():
    dataset = Dataset(GOLDEN / "data" / "valid")
    assert calibrate(rnnt.load(GOLDEN / "model"), dataset.subset([])) == Calibration()


def test_the_temperature_is_not_fitted_to_utterances_that_the_model_was_trained_on():
    dataset, model = Dataset(GOLDEN / "data" / "valid"), rnnt.load(GOLDEN / "model")
    fitted, kept = calibrate(model, dataset), calibrate(model, dataset, trained_on=True)
    assert fitted.temperature != 1.0 == kept.temperature
    assert (kept.start, kept.end, kept.sounds) == (fitted.start, fitted.end, fitted.sounds)
