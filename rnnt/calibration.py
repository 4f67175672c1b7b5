"""The calibration of a model: the sounds of its characters, and how far to trust its confidence.

It is fitted on a development split and saved with the model, as `calibration.json`. A model without one is used as if
symbols were emitted when their sounds begin, and its probabilities were right.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnt.sounds import Sounds
from rnnt.text import read_text

FILE = "calibration.json"
_LEAST, _MOST = 0.05, 20.0  # temperatures
MOST_SECONDS = 10.0  # that a symbol is emitted from its sound
_MOST_BYTES = 4_000_000  # of the file
_EDGE = 1e-6  # probabilities are kept so far from 0 and 1


@dataclass(frozen=True)
class Calibration:
    """The calibration of a model.

    temperature: divides the log-odds of confidences. start, end: the median time in seconds from the start of a word
    to the emission of its first symbol, and from the end of a word to the emission of its last one. sounds: those of
    the characters, by which the words are found in the audio; None if they are unknown.
    """

    temperature: float = 1.0
    start: float = 0.0
    end: float = -0.2
    sounds: Sounds | None = None

    def confidences(self, probabilities: Sequence[float]) -> list[float]:
        """Return the calibrated confidences of words or symbols to which the model gives these probabilities."""
        return _tempered(np.asarray(probabilities, float), self.temperature).tolist()


def fit_temperature(probabilities: Sequence[float], correct: Sequence[bool]) -> float:
    """Return the temperature that makes the confidences of words most probable, given which were correct.

    probabilities: those that the model gives to the words. Log-odds are divided by the temperature (Guo et al. 2017,
    arXiv 1706.04599), so above 1 it brings confidences nearer to a half. 1.0 if there are no words. It lies between
    0.05 and 20.
    """
    if not len(probabilities):
        return 1.0
    probability, right = np.asarray(probabilities, float), np.asarray(correct, bool)

    def loss(log_temperature: float) -> float:
        confidence = _tempered(probability, math.exp(log_temperature))
        return -float(np.log(np.where(right, confidence, 1 - confidence)).mean())

    # The loss is unimodal in the inverse temperature: a golden-section search finds its minimum.
    low, high, ratio = math.log(_LEAST), math.log(_MOST), (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right_end = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right_end):
            high = right_end
        else:
            low = left
    return math.exp((low + high) / 2)


def calibration_error(confidences: Sequence[float], correct: Sequence[bool], bins: int = 10) -> float:
    """Return the expected calibration error: the mean difference between confidence and share of correct words.

    The words are sorted into `bins` of equal width by their confidence, and each bin counts by its words.
    """
    confidence, right = np.asarray(confidences, float), np.asarray(correct, float)
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(float((confidence - right)[place == each].sum())) for each in range(bins)]
    return sum(gaps) / max(len(confidence), 1)


def calibration_json(calibration: Calibration) -> str:
    """Return the contents of a model's `calibration.json`."""
    sounds = calibration.sounds
    tree = {name: value for name, value in vars(calibration).items() if name != "sounds"}
    return json.dumps(tree | {"sounds": sounds and sounds.tree()}, ensure_ascii=False) + "\n"


def read_calibration(path: Path, mels: int) -> Calibration:
    """Read a model's `calibration.json`; without the file, return the defaults.

    mels: bins of the model's features. Raises ValueError if the file is damaged.
    """
    if not path.is_file():
        return Calibration()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        tree = json.loads(read_text(path))
        temperature, start, end = (float(tree[name]) for name in ("temperature", "start", "end"))
        sounds = None if tree.get("sounds") is None else Sounds.from_tree(tree["sounds"], mels)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValueError(f"{path} is damaged; remove it, or calibrate the model again") from None
    if not (_LEAST <= temperature <= _MOST and abs(start) <= MOST_SECONDS and abs(end) <= MOST_SECONDS):
        raise ValueError(f"{path} holds numbers that are out of range; remove it, or calibrate the model again")
    return Calibration(temperature, start, end, sounds)


def _tempered(probability: np.ndarray, temperature: float) -> np.ndarray:
    clipped = np.clip(probability, _EDGE, 1 - _EDGE)
    odds = np.log(clipped) - np.log1p(-clipped)
    return 1 / (1 + np.exp(-odds / temperature))
