"""The validation of a run: each process scores a stretch of the data, all get the whole result."""

from __future__ import annotations

import math

import numpy as np

from rnnt.dataset import Dataset
from rnnt.evaluation import Evaluation
from rnnt.recognizer import Recognizer
from rnnt.training.distributed import Processes
from rnnt.training.meter import Meter
from rnnt.training.stop import Stop


def own_share(dataset: Dataset, processes: Processes) -> Dataset:
    """Return the utterances, in their order, that this process scores: each process gets about as much audio."""
    ends = np.cumsum(dataset.lengths)
    share = ends[-1] / processes.count if len(ends) else 0
    start, end = np.searchsorted(ends, [share * processes.rank, share * (processes.rank + 1)], side="right")
    if processes.rank == processes.count - 1:  # the sum of the shares may miss the last end by its rounding
        end = len(dataset)
    return dataset.subset(np.arange(start, end))


def validate(
    recognizer: Recognizer, dataset: Dataset, processes: Processes, stop: Stop, meter: Meter
) -> Evaluation | None:
    """Evaluate the dataset with all processes; None where one of them was asked to stop before it was done."""
    share = own_share(dataset, processes)
    recognizer.eval()
    result = recognizer.evaluate(
        share, track=lambda items, total, _: meter.watch(stop.until(items), total, "validation")
    )
    whole = len(result.pairs) + len(result.skipped) == len(share)
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
        [name for part in results for name in part.truncated],
    )
