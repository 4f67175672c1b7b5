"""Measure time, memory and error of the joint network and the transducer loss, forward and backward.

    python benchmarks/bench_loss.py                              # S1 and S2 in float32 on the CPU
    python benchmarks/bench_loss.py --device cuda --cases mlperf --batch 256 64 --dtypes bfloat16 --save

Each implementation is measured in a new process. It first runs once on a toy case, to load libraries and start
threads; on a GPU it also runs once on the case itself, to compile kernels. Columns of the table:

  ms, min, max    median, minimum and maximum time of the timed calls
  extra MiB       peak memory of the call before them, minus the memory held before that call. It includes the gradients
                  that the call returns. CPU: resident set, on Linux, where a process can reset its peak
                  (/proc/self/clear_refs). GPU: torch.cuda.max_memory_allocated.
  loss error      relative error of the sum of the losses
  gradient error  norm of the error over the norm of the gradient, for the worst of encoder, predictor, weight and bias
  x products      the median time, as a multiple of that of `products`

Errors are differences from plain torch in float64, computed from the same inputs, one utterance at a time.

The row `products` is the minimum work of an exact loss: the output layer's matrix products and nothing else, in the
best of some tile sizes. Forward, that is one product over all valid nodes. Backward, it is three products over the
nodes above the tolerance: logits again, gradient of the hidden layer, gradient of the weight.

With bfloat16, encoder and predictor are bfloat16 and the parameters float32, under autocast, as in training.
"""

import argparse
import gc
import itertools
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import torch
from loss_implementations import IMPLEMENTATIONS, NO_ERROR, PADDED_LOGITS, TOLERANCE, dense_lattice, installed
from loss_inputs import Case, Inputs, case, make_inputs
from memory import MIB, held, peak, reset_peak, synchronize
from results import append_rows, device_name
from rich.console import Console
from rich.table import Table

from rnnt.progress import track

TILES = {"cpu": (512, 2048, 8192), "cuda": (2**14, 2**16, 2**18)}  # nodes in a tile, from which the best is taken
LEARNED = ("encoder", "predictor", "weight", "bias")


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    console = Console(width=None if sys.stdout.isatty() else 140)
    names = options.implementations or installed(options.device)
    for case_, kind, dtype in itertools.product(_cases(options), options.inputs, options.dtypes):
        rows = _compare(case_, kind, dtype, names, options, console)
        if options.save:  # after each case, so that a run that is stopped keeps the rows measured so far
            console.print(f"{len(rows)} rows added to {append_rows('loss', rows, options.device)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cases", nargs="+", default=["S1", "S2"], choices=["toy", "S1", "S2", "mlperf"])
    add("--batch", nargs="+", type=int, default=[16], help="number of utterances in the case mlperf")
    add("--inputs", nargs="+", default=["random", "trained"], choices=["random", "trained"])
    add("--dtypes", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--implementations", nargs="+", choices=IMPLEMENTATIONS, help="default: all that are installed")
    add("--repeats", type=int, default=10, help="maximum number of timed calls; the minimum is 3")
    add("--seconds", type=float, default=10.0, help="start no further timed call after this time")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--seed", type=int, default=0, help="for drawing the utterances of mlperf and the inputs")
    add("--quick", action="store_true", help="measure only the toy case, to see that everything runs")
    add("--save", action="store_true", help="append the rows to benchmarks/results/loss.csv")
    return parser.parse_args()


def _cases(options: argparse.Namespace) -> list[Case]:
    names = ["toy"] if options.quick else options.cases
    pairs = [(name, batch) for name in names for batch in (options.batch if name == "mlperf" else [0])]
    try:
        return [case(name, batch, options.seed) for name, batch in pairs]
    except ValueError as error:
        sys.exit(f"bench_loss: {error}")


def _compare(case_: Case, kind: str, dtype: str, names: list[str], options, console: Console) -> list[dict]:
    """Measure all implementations on one case, print the table and return the rows to save."""
    setting = case_, kind, getattr(torch, dtype), options
    with tempfile.TemporaryDirectory() as folder:
        oracle = Path(folder) / "oracle.pt"
        facts = _in_new_process(write_oracle, *setting, oracle)
        if "note" in facts:
            sys.exit(f"bench_loss: {case_.name} in float64 failed: {facts['note']}")
        table = Table(title=_title(case_, kind, dtype, facts, options.device))
        for column in ("", "ms", "min", "max", "extra MiB", "loss error", "gradient error", "x products"):
            table.add_column(column, justify="right" if column else "left")
        rows, notes = [], []
        label = f"{case_.name}, {kind}, {dtype}"
        for name in track(("products", *names), 1 + len(names), label, "implementations"):
            if name == "products":
                result = _in_new_process(measure_products, *setting, facts["visited"])
            elif missing := _missing_memory(case_, name, options.device):
                result = {"note": missing}
            else:
                result = _in_new_process(measure, *setting, name, oracle)
            if name == "products":
                floor = result.get("median_ms", float("nan"))
            elif "median_ms" in result:
                result["times_products"] = result["median_ms"] / floor
            if "note" in result:
                notes.append(f"{name}: {result['note']}")
            else:
                table.add_row(name, *_cells(result))
            about = {"case": case_.name, "inputs": kind, "dtype": dtype, "implementation": name}
            rows.append({**about, **result, "valid_nodes": case_.nodes, **facts})
    console.print(table, *notes, sep="\n")
    return rows


def _in_new_process(function, *arguments) -> dict:
    """Return the function's result from a new process. If it fails or dies, return {"note": the reason}."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except torch.OutOfMemoryError:
            return {"note": "out of memory"}
        except BrokenProcessPool:
            return {"note": "the process died"}
        except Exception as error:  # another project's code may raise anything; go on with the others
            return {"note": f"{type(error).__name__}: {error}".split("\n")[0]}


def measure(case_: Case, kind: str, dtype: torch.dtype, options, name: str, oracle: Path) -> dict:
    """Return time, memory and errors of one implementation. oracle: the file that `write_oracle` saved."""
    torch.set_num_threads(options.threads)
    toy = make_inputs(case("toy", 0, 0), kind, dtype, options.device)
    _gradients(name, toy, dtype)
    inputs = make_inputs(case_, kind, dtype, options.device, options.seed)
    if options.device == "cuda":
        _gradients(name, inputs, dtype)  # compiles and tunes kernels for these shapes
    with _ExtraMemory(options.device) as memory:
        loss, gradients = _gradients(name, inputs, dtype)
    errors = {}
    if name not in NO_ERROR:
        true = torch.load(oracle, weights_only=True)
        errors["loss_error"] = abs(loss / true["loss"] - 1)
        for part, gradient in zip(LEARNED, gradients):
            wanted = true[part].to(options.device)
            errors[f"{part}_error"] = ((gradient.double() - wanted).norm() / wanted.norm()).item()
        del true, wanted
    del gradients
    return {**_times(lambda: _gradients(name, inputs, dtype), options), "extra_mib": memory.mib, **errors}


def _gradients(name: str, inputs: Inputs, dtype: torch.dtype) -> tuple[float, tuple[torch.Tensor, ...]]:
    """The sum of the losses, and the gradients of the tensors in LEARNED."""
    device = inputs.encoder.device.type
    with nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype):
        loss = IMPLEMENTATIONS[name](inputs)
    gradients = torch.autograd.grad(loss, inputs.learned, allow_unused=name in NO_ERROR)
    return loss.item(), gradients


def write_oracle(case_: Case, kind: str, dtype: torch.dtype, options, path: Path) -> dict:
    """Save loss and gradients in float64. Return the fraction of visited nodes and the loss in nats per label."""
    torch.set_num_threads(options.threads)
    inputs = make_inputs(case_, kind, dtype, options.device, options.seed)
    learned = [x.detach().double() for x in inputs.learned]
    sums = [torch.zeros_like(x) for x in learned]
    loss, visited = 0.0, 0
    for b, (frames, labels) in enumerate(case_.lengths):
        one = slice(b, b + 1)
        places = (one, slice(frames)), (one, slice(labels + 1)), (...,), (...,)
        own = [x[place].clone().requires_grad_() for x, place in zip(learned, places)]
        lengths = inputs.encoder_lengths[one], inputs.target_lengths[one]
        log_p, scores = dense_lattice(Inputs(*own, inputs.targets[one, :labels], *lengths))
        *gradients, blank, label = torch.autograd.grad(-log_p.sum(), (*own, *scores))
        for total, place, gradient in zip(sums, places, gradients):
            total[place] += gradient
        # The gradients of the scores are -g_blank and -g_label, which add up to minus the node's occupancy.
        visited += int((-blank - label > TOLERANCE).sum())
        loss -= log_p.item()
    torch.save({"loss": loss, **{name: x.cpu() for name, x in zip(LEARNED, sums)}}, path)
    return {"visited": visited / case_.nodes, "nats_per_label": loss / sum(labels for _, labels in case_.lengths)}


def measure_products(case_: Case, kind: str, dtype: torch.dtype, options, visited: float) -> dict:
    """Return the time and the rate of the matrix products alone. visited: fraction of nodes visited backward."""
    torch.set_num_threads(options.threads)
    visited_nodes = round(visited * case_.nodes)
    like = {"dtype": dtype, "device": options.device}

    def steps(tile: int) -> Callable[[], None]:
        hidden_RH, grad_RH = torch.randn(tile, case_.width, **like), torch.empty(tile, case_.width, **like)
        weight_VH, sum_VH = (torch.randn(case_.vocabulary, case_.width, **like) for _ in range(2))
        logits_RV = torch.empty(tile, case_.vocabulary, **like)

        def step() -> None:
            for start in range(0, case_.nodes, tile):
                rows = slice(min(tile, case_.nodes - start))
                torch.mm(hidden_RH[rows], weight_VH.t(), out=logits_RV[rows])
            for start in range(0, visited_nodes, tile):
                rows = slice(min(tile, visited_nodes - start))
                torch.mm(hidden_RH[rows], weight_VH.t(), out=logits_RV[rows])
                torch.mm(logits_RV[rows], weight_VH, out=grad_RH[rows])
                torch.addmm(sum_VH, logits_RV[rows].t(), hidden_RH[rows], beta=0, out=sum_VH)

        return step

    choices = [steps(tile) for tile in TILES[options.device]]
    choices[0]()
    best = min(choices, key=lambda step: _milliseconds(step, options.device))
    times = _times(best, options)
    operations = 2 * case_.width * case_.vocabulary * (case_.nodes + 3 * visited_nodes)
    return {**times, "tflops": operations / times["median_ms"] / 1e9}


def _times(step: Callable[[], object], options) -> dict:
    """Median, minimum and maximum milliseconds of repeated calls."""
    times, start = [], time.perf_counter()
    while len(times) < 3 or (len(times) < options.repeats and time.perf_counter() - start < options.seconds):
        gc.collect()
        times.append(_milliseconds(step, options.device))
    return {"median_ms": median(times), "min_ms": min(times), "max_ms": max(times), "repeats": len(times)}


def _milliseconds(step: Callable[[], object], device: str) -> float:
    synchronize(torch.device(device))
    start = time.perf_counter()
    step()
    synchronize(torch.device(device))
    return 1000 * (time.perf_counter() - start)


class _ExtraMemory:
    """Measures in `mib` the peak memory within a `with` block, minus the memory held before; NaN if it is unknown."""

    def __init__(self, device: str) -> None:
        self.device, self.mib = torch.device(device), float("nan")

    def __enter__(self) -> "_ExtraMemory":
        synchronize(self.device)
        reset_peak(self.device)
        self.before = held(self.device)
        return self

    def __exit__(self, *error) -> None:
        self.mib = peak(self.device) - self.before


def _missing_memory(case_: Case, name: str, device: str) -> str:
    """A note if stored logits may take more than the free memory of a CPU, otherwise "".

    Without this check the system would kill some process when the memory runs out.
    """
    if device == "cuda" or name not in PADDED_LOGITS or sys.platform != "linux":
        return ""
    meminfo = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    available = next(int(line.split()[1]) for line in meminfo if line.startswith("MemAvailable"))
    needed = 5 * 4 * case_.padded_nodes * case_.vocabulary / 1024  # up to about five float32 copies of the logits
    return f"not run: may need {needed / MIB:.0f} GiB of memory" if needed > available else ""


def _title(case_: Case, kind: str, dtype: str, facts: dict, device: str) -> str:
    return (
        f"{case_.name}, {kind}, {dtype}, {device_name(device)}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}\n{len(case_.lengths)} utterances, {case_.nodes:,} valid nodes of {case_.padded_nodes:,} "
        f"with padding, {facts['visited']:.1%} of the valid ones above {TOLERANCE:g}; "
        f"{facts['nats_per_label']:.3g} nats per label"
    )


def _cells(result: dict) -> list[str]:
    """The cells of a row of the table, after its name."""
    gradient = max((value for key, value in result.items() if key[:-6] in LEARNED), default=None)
    memory = f"{result['extra_mib']:.0f}" if "extra_mib" in result else ""
    errors = ["" if error is None else f"{error:.1e}" for error in (result.get("loss_error"), gradient)]
    if "tflops" in result:
        errors[1] = f"{result['tflops']:.3g} TFLOP/s"
    times = [f"{result[key]:.1f}" for key in ("median_ms", "min_ms", "max_ms")]
    ratio = f"{result['times_products']:.2f}" if "times_products" in result else ""
    return [*times, memory, *errors, ratio]


if __name__ == "__main__":
    main()
