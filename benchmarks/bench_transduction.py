"""Words a second that a model of symbols decodes, greedily and with a beam.

    python benchmarks/bench_transduction.py MODEL DATA/SPLIT [--repeats 5] [--threads 2] [--save]

Each decoder decodes all words of the split; one after the other, and that several times. Printed are the median rate
and the lowest and highest. The model is loaded and the words are read before. Only the words' outputs are computed, as
`rnnt transcribe --text` does, without the probabilities.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch
from results import append_rows

import rnnt
from rnnt.dataset import Dataset

DECODERS = ("greedy", "beam:4")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--batch", type=int, nargs="+", default=[256])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--save", action="store_true", help="append rows to results/transduction.csv")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    words = list(dict.fromkeys(tuple(symbols) for symbols in Dataset(options.data).inputs()))
    models = {name: rnnt.load(options.model, decoding=name) for name in DECODERS}
    found = measure(models, words, options.batch, options.repeats)
    rows = []
    for (name, batch), rates in found.items():
        print(f"{name:7} batch {batch:4}: {median(rates):6.0f} words a second ({min(rates):.0f} to {max(rates):.0f})")
        size = {"words": len(words), "parameters": models[name].model.num_parameters()}
        speed = {"words_per_second": median(rates), "least": min(rates), "most": max(rates)}
        rows.append({"decoder": name, "batch": batch, **size, **speed})
    if options.save:
        append_rows("transduction", rows)


def measure(models: dict, words: list[tuple[str, ...]], batches: list[int], repeats: int) -> dict:
    """Return the words a second of each repetition, by decoder and batch. The decoders take turns."""
    rates: dict[tuple[str, int], list[float]] = {}
    for repeat in range(repeats + 1):
        for name, model in models.items():
            for batch in batches:
                started = time.perf_counter()
                model.transduce(words, batch_size=batch, probabilities=False)
                if repeat:  # the first one warms up
                    rates.setdefault((name, batch), []).append(len(words) / (time.perf_counter() - started))
    return rates


if __name__ == "__main__":
    main()
