"""The validation of a run: each process scores a stretch of the data, all get the whole result."""

from __future__ import annotations

import math

import numpy as np

from rnnt.dataset import Dataset
from rnnt.recognizer import Evaluation, Recognizer
from rnnt.shard import Recording
from rnnt.training.distributed import Processes
from rnnt.training.meter import Meter
from rnnt.training.stop import Stop


class Stretch:
    """Utterances start .. end-1 of a dataset, which Recognizer.evaluate() takes for a dataset."""

    def __init__(self, dataset: Dataset, start: int, end: int):
        self._dataset, self._start, self._end = dataset, start, end
        self.sample_rate = dataset.sample_rate
        self.num_samples = dataset.num_samples[start:end]

    def __len__(self) -> int:
        return self._end - self._start

    def __getitem__(self, i: int) -> Recording:
        return self._dataset[self._start + i]

    def id(self, i: int) -> str:
        return self._dataset.id(self._start + i)

    def text(self, i: int) -> str:
        return self._dataset.text(self._start + i)


def own_stretch(dataset: Dataset, processes: Processes) -> Stretch:
    """The stretch of the dataset, in its order, that falls to this process: each has about as much audio."""
    ends = np.cumsum(dataset.num_samples)
    share = ends[-1] / processes.count if len(ends) else 0
    start, end = np.searchsorted(ends, [share * processes.rank, share * (processes.rank + 1)], side="right")
    # The sum of the shares may miss the last end by its rounding.
    return Stretch(dataset, int(start), len(dataset) if processes.rank == processes.count - 1 else int(end))


def validate(
    recognizer: Recognizer, dataset: Dataset, processes: Processes, stop: Stop, meter: Meter
) -> Evaluation | None:
    """Evaluate the dataset with all processes; None where one of them was asked to stop before it was done."""
    stretch = own_stretch(dataset, processes)
    result = recognizer.evaluate(
        stretch, track=lambda items, total, _: meter.watch(stop.until(items), total, "validation")
    )
    whole = len(result.pairs) + len(result.skipped) == len(stretch)
    results = processes.gather(result if whole else None)
    if None in results:
        return None
    symbols = sum(part.symbols for part in results)
    loss = sum(part.loss * part.symbols for part in results if part.symbols)
    return Evaluation(
        [pair for part in results for pair in part.pairs],
        loss / symbols if symbols else math.nan,
        symbols,
        [item for part in results for item in part.skipped],
        [name for part in results for name in part.cut],
    )
