"""The validation of a run: each process scores a stretch of the data, all get the whole result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from rnnt.dataset import Dataset
from rnnt.evaluation import Evaluation
from rnnt.recognizer import Recognizer
from rnnt.references import merge_pairs
from rnnt.training.distributed import Processes
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
    recognizer: Recognizer, dataset: Dataset, processes: Processes, stop: Stop, progress: Callable[[int, int], None]
) -> Evaluation | None:
    """Evaluate the dataset with all processes; return None if one of them was asked to stop before it was done.

    progress(done, total): is called as this process goes through its utterances.
    """

    def track(items: Iterable, total: int, _: str) -> Iterator:
        progress(0, total)
        for done, item in enumerate(stop.until(items), 1):
            yield item
            progress(done, total)

    share = own_share(dataset, processes)
    recognizer.eval()
    result = recognizer.evaluate(share, track=track)
    whole = result.decoded + len(result.skipped) == len(share)
    results = processes.gather(result if whole else None)
    if None in results:
        return None
    symbols = sum(each.symbols for each in results)
    loss = sum(each.loss * each.symbols for each in results if each.symbols)
    pairs = merge_pairs([pair for each in results for pair in each.pairs], result.measure.tokens)
    kept = {pair.id for pair in pairs}
    return Evaluation(
        pairs,
        loss / symbols if symbols else math.nan,
        symbols,
        [item for each in results for item in each.skipped],
        [name for each in results for name in each.truncated if name in kept],
        [item for each in results for item in each.without_loss],
        measure=result.measure,
        decoded=sum(each.decoded for each in results),
    )
