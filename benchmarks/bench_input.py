"""How fast batches come out of prepared shards, and what an index of ten million utterances costs.

    python benchmarks/bench_input.py [--device cuda] [--save]

The rate: seconds of audio a second that the loader hands to a consumer that does nothing with them, from warm shards
of made-up recordings as long as LibriSpeech's. The index: seconds and memory until the first batch is there, in a
process of its own; its shards are links to one, so that they take no room on the disk.
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
from rnnt.dataset import DESCRIPTION, Dataset, write_split
from rnnt.files import write_json
from rnnt.loader import Loader
from rnnt.sampler import Sampler
from rnnt.shard import StoredUtterance
from rnnt.tokenizer import Symbols, train_tokenizer

SAMPLE_RATE = 16000
LENGTHS = "num_samples.npy"
BUCKETS = 6  # as in MLPerf
LETTERS = list(" ABCDEFGHIJKLMNOPQRSTUVWXYZ")
LETTERS_PER_SECOND = 15


def noise_utterances(seconds: np.ndarray, rng: np.random.Generator) -> Iterator[StoredUtterance]:
    """Noise whose loudness goes up and down as that of speech, with silence at both ends, and random letters."""
    longest = int(seconds.max() * SAMPLE_RATE)
    loudness = 10 ** rng.uniform(-2.5, 0, 2 * longest // 1600 + 1)  # one in 0.1 s
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
    """Write a split of `size` bytes of audio."""

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
    """A split of at least so many utterances, every shard of it a link to the first shard of another."""
    folder.mkdir()
    description = json.loads((split / DESCRIPTION).read_text(encoding="utf-8"))
    shard = description["shards"][0]
    count = -(-utterances // sum(shard["batches"]))
    shards = [{**shard, "name": f"shard-{number:05d}.arrow"} for number in range(count)]
    for link in shards:
        os.link(split / shard["name"], folder / link["name"])
    np.save(folder / LENGTHS, np.tile(np.load(split / LENGTHS)[: sum(shard["batches"])], count))
    write_json(folder / DESCRIPTION, {**description, "shards": shards})


def measure_rate(dataset: Dataset, batch: int, trim: bool, device: str, repeats: int) -> list[float]:
    """Seconds of audio a second, of each of so many passes over the split, after one that is not counted."""
    # As in MLPerf: 1023 pieces.
    tokenizer = train_tokenizer([dataset.text(i) for i in range(300)], TokenizerConfig("sentencepiece", 1023))
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
    """Seconds, and MB of memory above that of the bare process, after each step up to the first batch."""
    start, bare = time.perf_counter(), _memory()
    rows = []

    def note(what: str) -> None:
        used = {key: value - bare[key] for key, value in _memory().items()}
        rows.append({"measured": what, "seconds": time.perf_counter() - start, **used})

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
    assert len(first) == batch
    return [{**row, "utterances": len(dataset)} for row in rows]


def _memory() -> dict[str, float]:
    """MB: what the process holds, the most that it ever held, and mapped files, which the system may take back."""
    names = {"held_mb": "RssAnon", "peak_mb": "VmHWM", "mapped_mb": "RssFile"}
    return {key: status_kib(name) / 1000 for key, name in names.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=384)
    parser.add_argument("--megabytes", type=int, default=1024, help="of the shards that the rate is measured on")
    parser.add_argument("--utterances", type=int, default=10_000_000, help="of the index")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="append the rows to results/bench_input.csv")
    args = parser.parse_args()
    if not SHAPES_CSV.exists():
        parser.error(f"the lengths of LibriSpeech's utterances are wanted in {SHAPES_CSV}")
    seconds = np.loadtxt(SHAPES_CSV, delimiter=",", skiprows=1)[:, 0]
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        dataset = make_split(Path(temporary, "split"), args.megabytes << 20, seconds)
        print(f"{len(dataset)} utterances, {dataset.hours:.1f} hours, batches of {args.batch}, to {args.device}")
        print("\n seconds of audio a second     median        min        max")
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
