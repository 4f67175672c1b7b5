"""Rate, memory and stages of training steps: utterances a second, and where the time goes.

    python benchmarks/bench_training.py librispeech-mlperf --batch 4 --seconds 12 --tokens 45
    python benchmarks/bench_training.py --batch 192 512 1024 1536 --device cuda --save precision=bfloat16
    python benchmarks/bench_training.py small --batch 32 --processes 2 --threads 1

Steps are those of `rnnt train`, the input (noise, with the lengths of LibriSpeech's utterances) read ahead from
prepared shards. `ours` is the preset's model, `plain` the same network with nn.LSTM and stored logits of the padded
lattice, with torchaudio's loss where that is installed, otherwise rnnt.rnnt_loss; both start with the same weights, and
the losses of their first batch, without dropout, are compared. Each is measured in processes of its own.

Utilisation is the model's operations a second over those of a large matrix product, measured on the same device in the
same type. The model's operations: 2 for each multiplication of the matrix products (LSTM 2 x 4H x (inputs + H) a frame
and layer, Linear 2 x inputs x outputs, the joint's output layer at each node), over the utterances' own frames and
tokens at their recorded speed, x 3 for forward and backward; features, padding and recomputation do not count.

Memory: of the first part of a batch forward and backward, and of whole steps with optimizer and averaged weights; the
peak above what the process held before it made the model: of the resident set on a CPU, of
torch.cuda.max_memory_allocated on a GPU. The stages' times are means; on a GPU of three further steps, with a wait for
it between stages. `input` is what the step waited for it; `networks` are encoder, predictor and the joint's first
layers; the sum of the gradients over processes is within `networks backward`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from plain_model import loss_name
from results import append_rows, device_name
from rich.console import Console
from rich.table import Table
from training_case import DISTINCT, Size, librispeech_sizes, make_split, symbols
from training_worker import STAGES

from rnnt.config import Config
from rnnt.settings import load_config

WORKER = Path(__file__).with_name("training_worker.py")
AS_RECORDED = ("augment.speed_min=1", "augment.speed_max=1", "features.trim_silence=false")


def main() -> None:
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 160)
    rows = []
    for batch in options.batch:
        try:
            rows += _compare(batch, options, console)
        except ValueError as error:
            sys.exit(f"bench_training: {error}")
    if options.save:
        console.print(f"{len(rows)} rows added to {append_rows('training', rows, rows[0]['device_type'])}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("preset", nargs="?", default="librispeech-mlperf", help="a preset or a .yaml file")
    add("overrides", nargs="*", metavar="KEY=VALUE", help="settings, as for rnnt train")
    add("--batch", nargs="+", type=int, default=[4], help="utterances of a step, over all processes")
    add("--accumulation", type=int, default=1)
    add("--processes", type=int, default=1, help="on this machine, through torchrun")
    add("--device", default="auto", choices=["auto", "cpu", "cuda"])
    add("--seconds", type=float, help="all utterances as long, and at that speed; else as long as LibriSpeech's")
    add("--tokens", type=int, default=45, help="of each utterance, with --seconds")
    add("--implementations", nargs="+", default=["ours", "plain"], choices=["ours", "plain"])
    add("--steps", type=int, default=10, help="timed at most")
    add("--warmup", type=int, default=2, help="steps before them")
    add("--limit", type=float, default=60.0, help="seconds after which no further step is timed")
    add("--threads", type=int, help="of each process; default: the cores over the processes")
    add("--seed", type=int, default=0, help="of the lengths that are drawn")
    add("--save", action="store_true", help="append the rows to benchmarks/results/training.csv")
    options = parser.parse_intermixed_args()
    if "=" in options.preset:  # settings alone
        options.preset, options.overrides = "librispeech-mlperf", [options.preset, *options.overrides]
    options.threads = options.threads or max(1, (os.cpu_count() or 1) // options.processes)
    return options


def _compare(batch: int, options: argparse.Namespace, console: Console) -> list[dict]:
    """Measure the implementations at one batch size, print the table and return its rows."""
    settings = [f"train.batch={batch}", f"train.accumulation={options.accumulation}", f"device={options.device}"]
    settings += [*(AS_RECORDED if options.seconds else ()), *options.overrides]
    config = load_config(options.preset, settings)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        sizes = _sizes(batch, options, config)
        make_split(Path(folder, "split"), sizes, config.features.sample_rate, symbols(config))
        task = {
            "preset": options.preset, "settings": settings, "data": str(Path(folder, "split")),
            # So many that each bucket holds a batch.
            "copies": -(-config.data.buckets * batch // len(sizes)), "threads": options.threads,
            "steps": options.steps, "warmup": options.warmup, "limit": options.limit,
            "result": str(Path(folder, "result.json")),
        }  # fmt: skip
        results = {name: _measure(task | {"implementation": name}, options) for name in options.implementations}
    losses = [row["loss"] for row in results.values() if "loss" in row]
    if len(losses) == 2:
        results["plain"]["loss_difference"] = abs(losses[1] / losses[0] - 1)
    device_type = _device_type(options.device)
    _print(results, f"{_title(batch, options, config)}\n{device_name(device_type)}, torch {torch.__version__}", console)
    about = {
        "preset": options.preset, "settings": " ".join(options.overrides), "batch": batch,
        "accumulation": options.accumulation, "precision": config.precision, "processes": options.processes,
        "seconds": options.seconds or "LibriSpeech", "tokens": options.tokens if options.seconds else "LibriSpeech",
        "device_type": device_type,
    }  # fmt: skip
    loss = {"ours": "", "plain": loss_name()}
    return [{**about, "implementation": name, "loss_of": loss[name], **row} for name, row in results.items()]


def _sizes(batch: int, options: argparse.Namespace, config: Config) -> list[Size]:
    """Of the distinct utterances."""
    count = min(DISTINCT, config.data.buckets * batch)
    if not options.seconds:
        return librispeech_sizes(count, config, options.seed)
    if not config.data.min_seconds <= options.seconds <= config.data.max_seconds:
        raise ValueError(f"--seconds {options.seconds} is not within the preset's data.min_seconds and max_seconds")
    return [Size(options.seconds, options.tokens)] * count


def _measure(task: dict, options: argparse.Namespace) -> dict:
    """What the worker's first process wrote, or a note of why it wrote nothing."""
    where, result = Path(task["result"]).with_name("task.json"), Path(task["result"])
    result.unlink(missing_ok=True)
    where.write_text(json.dumps(task), encoding="utf-8")
    command = [sys.executable, str(WORKER), str(where)]
    if options.processes > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={options.processes}"]
        command[1:1] = torchrun
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    done = subprocess.run(command, check=False, env=environment, text=True, **streams)
    if result.exists():
        return json.loads(result.read_text(encoding="utf-8"))
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return {"note": f"ended with exit code {done.returncode}: {lines[-1] if lines else 'no message'}"}


def _device_type(device: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _title(batch: int, options: argparse.Namespace, config: Config) -> str:
    lengths = f"{options.seconds:g} s and {options.tokens} tokens" if options.seconds else "LibriSpeech's lengths"
    return (
        f"{' '.join([options.preset, *options.overrides])}, "
        f"batch {batch} in {options.accumulation} part(s), {lengths}, "
        f"{config.precision}, {options.processes} process(es) of {options.threads} thread(s)"
    )


def _print(results: dict[str, dict], title: str, console: Console) -> None:
    rates, stages = Table(title=title), Table(title="seconds a step")
    columns = ("", "utterances/s", "audio s/s", "TFLOP/s", "of", "utilisation", "median s", "least", "most")
    for column in (*columns, "pass MiB", "step MiB", "loss"):
        rates.add_column(column, justify="right" if column else "left")
    for column in ("", *STAGES):
        stages.add_column(column, justify="right" if column else "left")
    notes = []
    for name, row in results.items():
        label = f"{name} ({loss_name()})" if name == "plain" else name
        if "note" in row:
            notes.append(f"{label}: {row['note']}")
            continue
        rates.add_row(
            label, f"{row['utterances_per_s']:.3g}", f"{row['audio_s_per_s']:,.0f}", f"{row['tflops']:.3g}",
            f"{row['peak_tflops']:.3g}", f"{row['utilisation']:.1%}",
            *(f"{row[key]:.3g}" for key in ("median_s", "min_s", "max_s")),
            f"{row['pass_mib']:.0f}", f"{row['step_mib']:.0f}", f"{row['loss']:.6f}",
        )  # fmt: skip
        stages.add_row(label, *(f"{row[f'{stage} s']:.3g}" for stage in STAGES))
    for bare in [row["bare_mib"] for row in results.values() if "bare_mib" in row][:1]:
        notes.append(f"without a model the process holds {bare:.0f} MiB")
    if "loss_difference" in results.get("plain", {}):
        notes.append(f"the losses differ by {results['plain']['loss_difference']:.1e} of their value")
    console.print(rates, stages, *notes, sep="\n")


if __name__ == "__main__":
    main()
