"""How fast training and transcription are while another program keeps cores busy, with and without `rnnt.threads`.

    python benchmarks/bench_busy.py [--hogs 1] [--save]

Three kinds of work: training the demo's model, training the model of MLPerf (49 M parameters), and transcribing with
the demo's model; on noise as long as speech. Each is measured for some seconds with the cores for itself ("quiet") and
beside processes that compute all the time ("busy"); with as many threads as at the start ("fixed") and with threads
that adapt to the cores that are free ("adapted"). The four take turns, so that what else the machine does meets all
alike.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch
from results import append_rows
from training_case import Lengths, make_split, symbols

from rnnt.dataset import Dataset
from rnnt.device import set_precision
from rnnt.loader import Loader
from rnnt.recognizer import Recognizer
from rnnt.sampler import Sampler
from rnnt.settings import load_config
from rnnt.threads import SECONDS, Threads
from rnnt.training.distributed import Processes
from rnnt.training.share import own_shares
from rnnt.training.step import Stepper
from rnnt.training.stop import Stop

WORK = {"train demo": ("demo", 16, 3.0), "train librispeech-mlperf": ("librispeech-mlperf", 4, 12.0)}
TRANSCRIBED = 16  # utterances decoded together
RATE = 0.001  # learning rate

Work = Callable[[], int]  # does a piece of work and returns how many utterances it took


def training(preset: str, batch: int, seconds: float, folder: Path) -> Work:
    """Return the work of one training step on utterances of about so many seconds."""
    config = load_config(preset, ["device=cpu", f"train.batch={batch}", "train.accumulation=1", f"optim.lr={RATE}"])
    processes = Processes("cpu")
    set_precision(config.precision, processes.device)
    tokenizer = symbols(config)
    lengths = [Lengths(seconds * (0.75 + 0.5 * i / (4 * batch)), round(3.8 * seconds)) for i in range(4 * batch)]
    make_split(folder / preset, lengths, config.features.sample_rate, tokenizer)
    data = Dataset(folder / preset)
    loader = Loader(data, tokenizer, processes.device)
    sampler = Sampler(data.lengths, loader.usable, batch, 1, 0)
    torch.manual_seed(0)
    recognizer = Recognizer(config, tokenizer)
    stepper = Stepper(recognizer.features, recognizer.model, config, processes)

    def steps() -> Iterator[int]:
        number = 0
        while True:
            for indices in sampler.batches(number):
                shares = own_shares(indices, 1, processes)
                stepper.take([(s, loader.read(s.indices)) for s in shares], batch, number, 0.0, Stop())
                number += 1
                yield batch

    taken = steps()
    return lambda: next(taken)


def transcription(folder: Path) -> Work:
    """Return the work of transcribing some utterances of three seconds together."""
    config = load_config("demo", ["device=cpu"])
    tokenizer = symbols(config)
    torch.manual_seed(0)
    recognizer = Recognizer(config, tokenizer).eval()
    make_split(folder / "transcribed", [Lengths(3.0, 10)] * TRANSCRIBED, config.features.sample_rate, tokenizer)
    data = Dataset(folder / "transcribed")
    audio = [data.read(i)[0].input for i in range(len(data))]
    return lambda: len(recognizer.transcribe(audio, TRANSCRIBED))


def compute_for_ever() -> None:
    """Keep a core busy."""
    while True:
        sum(range(100_000))


@contextmanager
def hogs(count: int) -> Iterator[None]:
    """Let so many other processes keep a core busy each."""
    processes = [multiprocessing.get_context("spawn").Process(target=compute_for_ever) for _ in range(count)]
    for process in processes:
        process.start()
    if processes:
        time.sleep(0.5)  # until they have started
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def rate(work: Work, seconds: float, adapted: bool) -> float:
    """Return utterances per second of work that is done for so long."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    threads = Threads()
    time.sleep(SECONDS)  # a command takes as long to load its model, so it knows the cores when it begins
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        if adapted:
            threads.adapt()
        done += work()
    elapsed = time.perf_counter() - start
    torch.set_num_threads(cores)
    return done / elapsed


def measure(work: Work, seconds: float, repeats: int, busy: int) -> list[dict[str, object]]:
    """Return a row for each of the four cases."""
    rates: dict[tuple[str, str], list[float]] = {}
    work()
    for _ in range(repeats):
        for machine in ("quiet", "busy"):
            for threads in ("fixed", "adapted"):
                with hogs(busy if machine == "busy" else 0):
                    found = rate(work, seconds, threads == "adapted")
                rates.setdefault((machine, threads), []).append(found)
    quiet = median(rates["quiet", "fixed"])
    return [
        {
            "machine": machine, "threads": threads, "hogs": busy if machine == "busy" else 0, "repeats": repeats,
            "utterances_per_s": median(found), "min": min(found), "max": max(found), "of_quiet": median(found) / quiet,
        }
        for (machine, threads), found in rates.items()
    ]  # fmt: skip


def main() -> None:
    """Print a table for each kind of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hogs", type=int, default=1, help="processes that keep a core busy each")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", nargs="+", choices=[*WORK, "transcribe"], default=[*WORK, "transcribe"])
    parser.add_argument("--save", action="store_true", help="append the rows to results/busy.csv")
    options = parser.parse_args()
    if "OMP_NUM_THREADS" in os.environ:
        parser.error("OMP_NUM_THREADS is set, so the number of threads would not adapt; unset it")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.work:
            work = training(*WORK[name], Path(folder)) if name in WORK else transcription(Path(folder))
            print(f"\n{name:26s}  utterances/s       min       max   of the quiet, fixed rate")
            for row in measure(work, options.seconds, options.repeats, options.hogs):
                print(
                    f"  {row['machine']:6s} {row['threads']:16s}  {row['utterances_per_s']:12.2f}  {row['min']:8.2f}  "
                    f"{row['max']:8.2f}  {row['of_quiet']:10.2f}",
                    flush=True,
                )
                rows.append({"work": name, **row})
    if options.save:
        print("saved in", append_rows("busy", rows))


if __name__ == "__main__":
    main()
