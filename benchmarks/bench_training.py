"""Measure training steps: utterances per second, memory, and the time of each stage.

    python benchmarks/bench_training.py librispeech-mlperf --batch 4 --seconds 12 --tokens 45
    python benchmarks/bench_training.py --batch 192 512 1024 1536 --device cuda --save precision=bfloat16
    python benchmarks/bench_training.py small --batch 32 --processes 2 --threads 1

The steps are those of `rnnt train`. Batches are read ahead from a prepared split of noise, in which utterances are as
long as LibriSpeech's, or all of the length given by --seconds and --tokens.

Two implementations are compared, each in new processes. `ours` is the preset's model. `plain` is the same network with
nn.LSTM and with stored logits of the padded lattice; its loss is torchaudio's if that is installed, otherwise
rnnt.rnnt_loss. Both start with the same weights. Their losses of the first share, without dropout, are compared.

Columns of the first table:

  TFLOP/s       operations of the model per second: 2 for each multiplication of its matrix products, forward, times 3
                for forward and backward. An LSTM layer takes 2 x 4H x (inputs + H) for each frame, a Linear layer
                2 x inputs x outputs, and the joint's output layer the same at each node. The utterances' own frames
                and tokens at their recorded speed count; features, padding and recomputation do not.
  peak TFLOP/s  the rate of a large matrix product, measured on the same device in the same type
  utilisation   the ratio of these two
  median s, min, max  time of a step
  pass MiB      peak memory of a forward and backward pass through the first share
  step MiB      peak memory of whole steps, with optimizer and averaged weights
  loss          mean loss of the first share before training, without dropout

Both peaks are in addition to the memory that the process held before it made the model. On a CPU they are of the
resident set, on a GPU of torch.cuda.max_memory_allocated.

The second table has the mean time of each stage of a step. On a GPU it comes from three further steps, which wait for
the GPU after each stage. `input` is the time that the step waits for its batch. `networks` are encoder, predictor and
the joint's first layers. The sum of the gradients over processes is part of `networks backward`.
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
from training_case import DISTINCT, Lengths, librispeech_lengths, make_split, symbols
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
    add("--batch", nargs="+", type=int, default=[4], help="utterances in a step, over all processes")
    add("--accumulation", type=int, default=1, help="shares of a batch for each process, one after another")
    add("--processes", type=int, default=1, help="number of processes on this machine, started by torchrun")
    add("--device", default="auto", choices=["auto", "cpu", "cuda"])
    add("--seconds", type=float, help="length of all utterances, with speed unchanged; default: LibriSpeech's lengths")
    add("--tokens", type=int, default=45, help="tokens in each utterance, with --seconds")
    add("--implementations", nargs="+", default=["ours", "plain"], choices=["ours", "plain"])
    add("--steps", type=int, default=10, help="maximum number of timed steps")
    add("--warmup", type=int, default=2, help="number of steps before the timed ones")
    add("--limit", type=float, default=60.0, help="start no further timed step after this many seconds")
    add("--threads", type=int, help="threads of each process; default: number of cores / number of processes")
    add("--seed", type=int, default=0, help="for drawing LibriSpeech's lengths")
    add("--save", action="store_true", help="append the rows to benchmarks/results/training.csv")
    options = parser.parse_intermixed_args()
    if "=" in options.preset:  # no preset is given, and the first argument is a setting
        options.preset, options.overrides = "librispeech-mlperf", [options.preset, *options.overrides]
    options.threads = options.threads or max(1, (os.cpu_count() or 1) // options.processes)
    return options


def _compare(batch: int, options: argparse.Namespace, console: Console) -> list[dict]:
    """Measure the implementations at one batch size, print the tables and return the rows to save."""
    settings = [f"train.batch={batch}", f"train.accumulation={options.accumulation}", f"device={options.device}"]
    settings += [*(AS_RECORDED if options.seconds else ()), *options.overrides]
    config = load_config(options.preset, settings)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        lengths = _lengths(batch, options, config)
        make_split(Path(folder, "split"), lengths, config.features.sample_rate, symbols(config))
        task = {
            "preset": options.preset, "settings": settings, "data": str(Path(folder, "split")),
            # Repeat the split until each bucket holds at least one batch.
            "copies": -(-config.data.buckets * batch // len(lengths)), "threads": options.threads,
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


def _lengths(batch: int, options: argparse.Namespace, config: Config) -> list[Lengths]:
    """The lengths of the utterances of the split. Raises ValueError if the preset does not admit --seconds."""
    count = min(DISTINCT, config.data.buckets * batch)
    if not options.seconds:
        return librispeech_lengths(count, config, options.seed)
    if not config.data.min_seconds <= options.seconds <= config.data.max_seconds:
        raise ValueError(
            f"--seconds {options.seconds:g} must lie between data.min_seconds={config.data.min_seconds:g} and "
            f"data.max_seconds={config.data.max_seconds:g}"
        )
    return [Lengths(options.seconds, options.tokens)] * count


def _measure(task: dict, options: argparse.Namespace) -> dict:
    """Run the workers. Return the result that the first one wrote, or {"note": the reason} if it wrote none."""
    result = Path(task["result"])
    task_file = result.with_name("task.json")
    result.unlink(missing_ok=True)
    task_file.write_text(json.dumps(task), encoding="utf-8")
    command = [sys.executable, str(WORKER), str(task_file)]
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
        f"batch {batch}, accumulation {options.accumulation}, {lengths}, "
        f"{config.precision}, processes {options.processes}, threads of each {options.threads}"
    )


def _print(results: dict[str, dict], title: str, console: Console) -> None:
    rates, stages = Table(title=title), Table(title="mean seconds of a step, by stage")
    columns = ("", "utterances/s", "audio s/s", "TFLOP/s", "peak TFLOP/s", "utilisation", "median s", "min", "max")
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
        notes.append(f"before it made the model, the process held {bare:.0f} MiB")
    if "loss_difference" in results.get("plain", {}):
        notes.append(f"relative difference of the two losses: {results['plain']['loss_difference']:.1e}")
    console.print(rates, stages, *notes, sep="\n")


if __name__ == "__main__":
    main()
