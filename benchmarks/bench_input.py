"""Measure how fast batches come out of prepared shards, and the time and memory to open ten million utterances.

    python benchmarks/bench_input.py [--device cuda] [--save]

Rate: seconds of audio that the loader delivers in a second, to a consumer that does nothing with them. The shards hold
noise in utterances as long as LibriSpeech's, and are in the system's file cache.

Index: seconds and memory until the first batch has been read, in a new process. All shards are hard links to one file,
so they take no space on the disk.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from loss_inputs import SHAPES_CSV
from memory import status_kib
from results import append_rows

from rnnt.config import TokenizerConfig
from rnnt.dataset import Dataset, write_split
from rnnt.description import DESCRIPTION
from rnnt.files import write_json
from rnnt.loader import Loader
from rnnt.sampler import Sampler
from rnnt.shard import StoredUtterance
from rnnt.tokenizer import Symbols, train_tokenizer

SAMPLE_RATE = 16000
LENGTHS = "num_samples.npy"
BUCKETS = 6  # as in MLPerf
PIECES = 1023  # as in MLPerf
LETTERS = list(" ABCDEFGHIJKLMNOPQRSTUVWXYZ")
LETTERS_PER_SECOND = 15


def noise_utterances(seconds: np.ndarray, rng: np.random.Generator) -> Iterator[StoredUtterance]:
    """Yield noise whose loudness varies like that of speech, with silence at both ends, and random letters as texts.

    seconds: the lengths from which each utterance's length is drawn.
    """
    longest = int(seconds.max() * SAMPLE_RATE)
    loudness = 10 ** rng.uniform(-2.5, 0, 2 * longest // 1600 + 1)  # a new value every 0.1 s
    loudness = np.interp(np.arange(2 * longest) / 1600, np.arange(len(loudness)), loudness)
    noise = np.clip(rng.standard_normal(2 * longest) * 7000 * loudness, -32768, 32767).astype(np.int16)
    while True:
        length = float(rng.choice(seconds))
        start = rng.integers(longest)
        samples = noise[start : start + int(length * SAMPLE_RATE)].copy()
        edge = rng.integers(len(samples) // 20, size=2)
        samples[: edge[0]] = samples[len(samples) - edge[1] :] = 0
        text = "".join(rng.choice(LETTERS, int(length * LETTERS_PER_SECOND)))
        yield StoredUtterance(f"{rng.integers(10**9):09d}", samples, text, "nobody")


def make_split(folder: Path, size: int, seconds: np.ndarray) -> Dataset:
    """Write and open a split of about `size` bytes of audio, whose utterances have lengths drawn from `seconds`."""

    def until_full() -> Iterator[StoredUtterance]:
        written = 0
        for utterance in noise_utterances(seconds, np.random.default_rng(0)):
            yield utterance
            written += utterance.input.nbytes
            if written >= size:
                return

    write_split(folder, until_full(), SAMPLE_RATE, source="made up")
    return Dataset(folder)


def make_index(folder: Path, split: Path, utterances: int) -> None:
    """Make a split of at least this many utterances. Each of its shards is a hard link to the first one of `split`."""
    folder.mkdir()
    description = json.loads((split / DESCRIPTION).read_text(encoding="utf-8"))
    shard = description["shards"][0]
    in_shard = sum(shard["batches"])
    count = -(-utterances // in_shard)
    shards = [{**shard, "name": f"shard-{number:05d}.arrow"} for number in range(count)]
    for link in shards:
        os.link(split / shard["name"], folder / link["name"])
    np.save(folder / LENGTHS, np.tile(np.load(split / LENGTHS)[:in_shard], count))
    write_json(folder / DESCRIPTION, {**description, "utterances": count * in_shard, "shards": shards})


def measure_rate(dataset: Dataset, batch: int, trim: bool, device: str, repeats: int) -> list[float]:
    """Return the seconds of audio per second of each of `repeats` passes over the split.

    One pass before them is not counted: it warms the file cache.
    """
    texts = [dataset.text(i) for i in range(min(300, len(dataset)))]
    tokenizer = train_tokenizer(texts, TokenizerConfig("sentencepiece", PIECES))
    loader = Loader(dataset, tokenizer, torch.device(device), trim)
    sampler = Sampler(dataset.lengths, loader.usable, batch, BUCKETS, 0)
    rates = []
    for epoch in range(repeats + 1):
        start = time.perf_counter()
        for _ in loader.batches(sampler.batches(epoch)):
            pass
        if device == "cuda":
            torch.cuda.synchronize()
        rates.append(dataset.hours * 3600 / (time.perf_counter() - start))
    return rates[1:]


def measure_index(folder: Path, batch: int) -> list[dict[str, object]]:
    """Return a row for each step up to the first batch: seconds since the start, and MB above the memory before it."""
    start, before = time.perf_counter(), _memory()
    rows = []

    def note(step: str) -> None:
        used = {key: value - before[key] for key, value in _memory().items()}
        rows.append({"measured": step, "seconds": time.perf_counter() - start, **used})

    dataset = Dataset(folder)
    note("opened")
    loader = Loader(dataset, Symbols("characters", LETTERS), torch.device("cpu"))
    note("texts checked")
    sampler = Sampler(dataset.lengths, loader.usable, batch, BUCKETS, 0)
    note("sorted")
    plan = sampler.batches(0)
    note("epoch planned")
    first = loader.read(plan[0])
    note("first batch")
    assert len(first) == len(plan[0])
    return [{**row, "utterances": len(dataset)} for row in rows]


def _memory() -> dict[str, float]:
    """MB of this process: allocated now, the peak of all its memory, and mapped files, which the system can drop."""
    names = {"held_mb": "RssAnon", "peak_mb": "VmHWM", "mapped_mb": "RssFile"}
    return {key: status_kib(name) / 1000 for key, name in names.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="device that gets the batches")
    parser.add_argument("--batch", type=int, default=384, help="utterances in a batch")
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the shards for the rate")
    parser.add_argument("--utterances", type=int, default=10_000_000, help="utterances in the index")
    parser.add_argument("--repeats", type=int, default=7, help="timed passes over the shards")
    parser.add_argument("--save", action="store_true", help="append the rows to results/bench_input.csv")
    args = parser.parse_args()
    if not SHAPES_CSV.exists():
        parser.error(f"needs the lengths of LibriSpeech's utterances in {SHAPES_CSV}")
    seconds = np.loadtxt(SHAPES_CSV, delimiter=",", skiprows=1)[:, 0]
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        dataset = make_split(Path(temporary, "split"), args.megabytes << 20, seconds)
        print(f"{len(dataset)} utterances, {dataset.hours:.1f} hours, batches of {args.batch}, to {args.device}")
        print("\n seconds of audio per second   median        min        max")
        for trim in (False, True):
            rates = measure_rate(dataset, args.batch, trim, args.device, args.repeats)
            name = "silence trimmed" if trim else "as recorded"
            print(f" {name:26s} {median(rates):9,.0f}  {min(rates):9,.0f}  {max(rates):9,.0f}", flush=True)
            figures = {"median": median(rates), "min": min(rates), "max": max(rates)}
            rows.append({"measured": f"rate, {name}", "batch": args.batch, **figures})
        make_index(Path(temporary, "index"), Path(temporary, "split"), args.utterances)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            steps = pool.apply(measure_index, (Path(temporary, "index"), args.batch))
    print(f"\n {steps[0]['utterances']:,} utterances       seconds    held MB    peak MB  mapped MB")
    for row in steps:
        print(
            f" {row['measured']:24s} {row['seconds']:8.2f}  {row['held_mb']:9.0f}  {row['peak_mb']:9.0f}  "
            f"{row['mapped_mb']:9.0f}"
        )
    rows += [{**row, "measured": f"index, {row['measured']}", "batch": args.batch} for row in steps]
    if args.save:
        print("saved in", append_rows("bench_input", rows, args.device))


if __name__ == "__main__":
    main()
