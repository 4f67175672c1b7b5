"""The calibration of a model: how far its symbols are emitted from their sounds, and how far to trust its confidence.

It is fitted on a development split and saved with the model, as `calibration.json`. A model without one is used as if
symbols were emitted when their sounds begin, and its probabilities were right.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from rnnt.text import read_text

FILE = "calibration.json"
_LEAST, _MOST = 0.05, 20.0  # temperatures
_PRIOR = 8  # words as good as which the median of all symbols is, for a symbol that is rare
_MOST_SECONDS = 10.0  # that a symbol is emitted from its sound
_EDGE = 1e-6  # probabilities are kept so far from 0 and 1


@dataclass(frozen=True)
class Calibration:
    """The calibration of a model.

    temperature: divides the log-odds of confidences. start, end: the median time in seconds from the start of a word
    to the emission of its first symbol, and from the end of a word to the emission of its last one. starts, ends: the
    same for words that begin or end with a certain symbol, if there were such words.
    """

    temperature: float = 1.0
    start: float = 0.0
    end: float = -0.2
    starts: dict[int, float] | None = None
    ends: dict[int, float] | None = None

    def start_of(self, symbol: int) -> float:
        """Return the time from the start of a word that begins with this symbol to its emission."""
        return (self.starts or {}).get(symbol, self.start)

    def end_of(self, symbol: int) -> float:
        """Return the time from the end of a word that ends with this symbol to its emission."""
        return (self.ends or {}).get(symbol, self.end)

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


def fit_delays(items: Iterable[tuple[int, float]]) -> tuple[float, dict[int, float]]:
    """Return the median delay, and that of each symbol, of (symbol, delay in seconds) pairs.

    The delay of a rare symbol is drawn towards that of all symbols.
    """
    found: dict[int, list[float]] = {}
    for symbol, delay in items:
        found.setdefault(symbol, []).append(delay)
    if not found:
        return 0.0, {}
    whole = median([delay for delays in found.values() for delay in delays])
    return whole, {
        symbol: (len(delays) * median(delays) + _PRIOR * whole) / (len(delays) + _PRIOR)
        for symbol, delays in sorted(found.items())
    }


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
    return json.dumps(asdict(calibration), indent=1) + "\n"


def read_calibration(path: Path, symbols: int) -> Calibration:
    """Read a model's `calibration.json`; without the file, return the defaults.

    symbols: how many the tokenizer has. Raises ValueError if the file is damaged.
    """
    if not path.is_file():
        return Calibration()
    try:
        tree = json.loads(read_text(path))
        temperature, start, end = (float(tree[name]) for name in ("temperature", "start", "end"))
        starts, ends = (
            {int(symbol): float(delay) for symbol, delay in (tree[name] or {}).items()} for name in ("starts", "ends")
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path} is damaged; remove it, or calibrate the model again") from None
    delays = [start, end, *starts.values(), *ends.values()]
    known = all(0 <= symbol < symbols for symbol in (*starts, *ends))
    if not (known and _LEAST <= temperature <= _MOST and all(abs(delay) <= _MOST_SECONDS for delay in delays)):
        raise ValueError(f"{path} holds numbers that are out of range; remove it, or calibrate the model again")
    return Calibration(temperature, start, end, starts, ends)


def _tempered(probability: np.ndarray, temperature: float) -> np.ndarray:
    clipped = np.clip(probability, _EDGE, 1 - _EDGE)
    odds = np.log(clipped) - np.log1p(-clipped)
    return 1 / (1 + np.exp(-odds / temperature))
