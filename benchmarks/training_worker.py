"""One process of a training benchmark: takes steps as the trainer does, and measures the time and memory of each stage.

Started by bench_training, alone or by torchrun; the first process writes what was measured to a JSON file.
"""

import itertools
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from memory import peak, reset_peak, synchronize
from plain_model import PlainTransducer
from training_case import model_flops, symbols

from rnnt.config import Config
from rnnt.dataset import Dataset
from rnnt.device import autocast, set_precision
from rnnt.loader import Batch, Loader
from rnnt.recognizer import Recognizer
from rnnt.sampler import Sampler
from rnnt.settings import load_config
from rnnt.training.distributed import Processes
from rnnt.training.optimizer import make_optimizer
from rnnt.training.share import own_shares
from rnnt.training.step import Stepper
from rnnt.training.stop import Stop

STAGES = ("input", "features", "networks forward", "loss forward", "loss backward", "networks backward", "optimizer")
STAGED_STEPS = 3  # on a GPU


def work(task: dict) -> dict:
    """Measure `task` (see bench_training) in one process. All processes return the same: sums are over all."""
    torch.set_num_threads(task["threads"])
    config = load_config(task["preset"], task["settings"])
    processes = Processes(config.device)
    device = processes.device
    set_precision(config.precision, device)
    tokenizer = symbols(config)
    data = Dataset(*[task["data"]] * task["copies"])
    loader = Loader(data, tokenizer, device, config.features.trim_silence)
    sampler = Sampler(data.lengths, loader.usable, config.train.batch, config.data.buckets, config.seed)
    plan = itertools.chain.from_iterable(sampler.batches(epoch) for epoch in itertools.count())
    peak_flops = matmul_flops(config, device)

    _load_libraries(device)
    reset_peak(device)
    bare = peak(device)
    torch.manual_seed(config.seed)
    recognizer = Recognizer(config, tokenizer).to(device)
    if task["implementation"] == "plain":
        recognizer.model = PlainTransducer(recognizer.model).to(device)
    first = loader.read(own_shares(sampler.batches(0)[0], config.train.accumulation, processes)[0].indices)
    result = {"loss": _loss(recognizer, first.to(device))}
    reset_peak(device)
    result["pass_mib"] = _one_pass(recognizer, first.to(device), device) - bare

    reset_peak(device)
    marks = Marks(device)
    marks.watch_model(recognizer)
    stepper = Stepper(recognizer.features, recognizer.model, config, processes)
    marks.watch_stepper(stepper)
    steps = _steps(stepper, plan, loader, config, processes, marks)
    for _ in range(task["warmup"]):
        next(steps)
    marks.on = device.type == "cpu"  # reading the clock costs nothing there; on a GPU it means waiting
    seconds, cpu_seconds, sums = _timed(steps, task, processes, config, len(tokenizer) + 1)
    result["step_mib"] = peak(device) - bare
    staged = len(seconds)
    if not marks.on:
        marks.on, staged = True, STAGED_STEPS
        for _ in range(staged):
            next(steps)
    utterances, audio, flops = processes.add(torch.tensor(sums, dtype=torch.float64, device=device)).tolist()
    total = sum(seconds)
    result |= {
        "utterances_per_s": utterances / total, "audio_s_per_s": audio / total,
        "tflops": flops / total / 1e12, "peak_tflops": processes.count * peak_flops / 1e12,
        "utilisation": flops / total / (processes.count * peak_flops),
        "steps": len(seconds), "median_s": median(seconds), "min_s": min(seconds), "max_s": max(seconds),
        "cpu_s": cpu_seconds / len(seconds), "bare_mib": bare,
        **{f"{name} s": marks.seconds[name] / staged for name in STAGES},
    }  # fmt: skip
    processes.leave()
    return result


def matmul_flops(config: Config, device: torch.device) -> float:
    """Floating-point operations a second of a large matrix product, in the type that the step multiplies in."""
    with autocast(config.precision, device):
        dtype = (torch.ones(1, 1, device=device) @ torch.ones(1, 1, device=device)).dtype
    size = 8192 if device.type == "cuda" else 2048
    x, y = torch.randn(2, size, size, device=device).to(dtype)
    times = []
    for _ in range(10 if device.type == "cuda" else 4):
        synchronize(device)
        start = time.perf_counter()
        torch.mm(x, y)
        synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


class Marks:
    """Seconds spent in each stage: at each mark, what has passed since the mark before. Does nothing until `on`."""

    def __init__(self, device: torch.device):
        self.on = False
        self.seconds: dict[str, float] = defaultdict(float)
        self._device, self._last = device, 0.0
        self._backward = False

    def __call__(self, stage: str) -> None:
        """All since the last mark was this stage; "" for what is none."""
        if self.on:
            synchronize(self._device)
            now = time.perf_counter()
            self.seconds[stage] += now - self._last
            self._last = now

    def watch_model(self, recognizer: Recognizer) -> None:
        """Before a Stepper is made of the recognizer."""
        features, loss = recognizer.features.forward, recognizer.model.loss

        def timed_features(*arguments):
            self._end_backward()
            return self._after("features", features(*arguments))

        def timed_loss(*arguments, **options):
            result = loss(*arguments, **options)
            self._backward = True
            return self._after("loss forward", result)

        recognizer.features.forward, recognizer.model.loss = timed_features, timed_loss
        # The last that is computed before the loss and the first whose gradient comes out of it.
        recognizer.model.joint.get_submodule("predictor").register_forward_hook(self._at_the_joint)

    def watch_stepper(self, stepper: Stepper) -> None:
        unscale, update = stepper.scaler.unscale_, stepper.ema.update

        def timed_unscale(optimizer):
            self._end_backward()
            unscale(optimizer)

        stepper.scaler.unscale_ = timed_unscale
        stepper.ema.update = lambda: self._after("optimizer", update())

    def _after(self, stage: str, result):
        self(stage)
        return result

    def _at_the_joint(self, module, inputs, output) -> None:
        self("networks forward")
        if output.requires_grad:
            output.register_hook(lambda grad: self("loss backward"))

    def _end_backward(self) -> None:
        self("networks backward" if self._backward else "")
        self._backward = False


def _steps(stepper: Stepper, plan: Iterator, loader: Loader, config: Config, processes: Processes, marks: Marks):
    """Take a step at each next(); yield the batches of this process's shares."""
    batches, ahead = itertools.tee((batch, own_shares(batch, config.train.accumulation, processes)) for batch in plan)
    loaded = loader.batches(share.indices for _, group in ahead for share in group)
    for step, (batch, group) in enumerate(batches):
        marks("")
        shares = [(share, next(loaded)) for share in group]
        marks("input")
        outcome = stepper.take(shares, len(batch), step, 0.0, Stop(announce=False))
        if outcome.problem:
            raise ValueError(f"a step was not taken: {outcome.problem}")
        yield [loaded_share for share, loaded_share in shares if share.weight]


def _timed(steps, task: dict, processes: Processes, config: Config, vocabulary: int):
    """Seconds of each step, of processor time in all, and this process's utterances, seconds of audio, operations."""
    seconds, sums = [], np.zeros(3)
    rate = config.features.sample_rate
    synchronize(processes.device)
    busy, start = time.process_time(), time.perf_counter()
    while len(seconds) < task["steps"]:
        before = time.perf_counter()
        batches = next(steps)
        synchronize(processes.device)
        seconds.append(time.perf_counter() - before)
        for batch in batches:
            for samples, tokens in zip(batch.input_lengths.tolist(), batch.target_lengths.tolist()):
                sums += 1, samples / rate, model_flops(config, vocabulary, samples / rate, tokens)
        over = time.perf_counter() - start > task["limit"]
        if processes.from_main(lambda over=over: over):
            break
    return seconds, time.process_time() - busy, sums


def _loss(recognizer: Recognizer, batch: Batch) -> float:
    """Mean loss of a batch, without dropout. It must be the same for all implementations of a model."""
    recognizer.eval()
    with torch.no_grad(), autocast(recognizer.config.precision, recognizer.device):
        encoder, lengths = recognizer.model.encoder(*recognizer.features(batch.inputs, batch.input_lengths))
        loss_B = recognizer.model.loss(encoder, lengths, batch.targets, batch.target_lengths)
    recognizer.train()
    return loss_B.mean().item()


def _one_pass(recognizer: Recognizer, batch: Batch, device: torch.device) -> float:
    """Peak MiB of a forward and backward pass through the model, which leaves the gradients."""
    with torch.no_grad():
        features = recognizer.features(batch.inputs, batch.input_lengths)
    with autocast(recognizer.config.precision, device):
        encoder, lengths = recognizer.model.encoder(*features)
        recognizer.model.loss(encoder, lengths, batch.targets, batch.target_lengths).mean().backward()
    most = peak(device)
    recognizer.zero_grad(set_to_none=True)
    return most


def _load_libraries(device: torch.device) -> None:
    """Load the libraries of LSTMs and optimizers, so that their memory is not counted as the model's."""
    lstm = torch.nn.LSTM(8, 8).to(device)
    optimizer = make_optimizer(lstm.parameters(), "lamb", lr=0.1)
    lstm(torch.zeros(1, 1, 8, device=device))[0].sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        result = work(task)
    except torch.OutOfMemoryError:
        result = {"note": "out of memory"}
    except ValueError as error:
        result = {"note": str(error)}
    if os.environ.get("RANK", "0") == "0":
        Path(task["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
