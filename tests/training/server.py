"""Training runs in separate processes, forked from one that has imported everything already.

A line of standard input is a job, an object: `settings` (a YAML file), `overrides`, `data`, `out`, `count` of
processes, and `faults`, each {rank, place, call, delay, signals}: `delay` seconds after the call'th call of `place`
begins, the process gets these signals. `spoil`: a text whose loss is infinite. A line of standard output is what came
of it: for each process its exit code and what it wrote to standard error.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

import torch
import torch._dynamo  # what a run imports late is imported once here
import torch.utils.tensorboard

from rnnt.settings import load_config
from rnnt.training import checkpoint, trainer
from rnnt.training.run import RunFolder
from rnnt.training.step import Stepper

PLACES = {
    "step": (Stepper, "take"),
    "checkpoint": (checkpoint, "save"),
    "validation": (trainer, "validate"),
    "best": (RunFolder, "save_best"),
    "start": (trainer.Trainer, "run"),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def send_when_called(place: str, call: int, delay: float, signals: list[int]) -> None:
    owner, name = PLACES[place]
    original, count = getattr(owner, name), 0

    def send() -> None:
        time.sleep(delay)
        for number in signals:
            os.kill(os.getpid(), number)
            time.sleep(0.02)

    def wrapped(*args, **kwargs):
        nonlocal count
        count += 1
        if count == call:
            if delay:
                threading.Thread(target=send, daemon=True).start()
            else:
                send()
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def spoil(model, wanted: list[int]) -> None:
    original = model.loss

    def loss(encoder, encoder_lengths, targets, target_lengths, **options):
        losses = original(encoder, encoder_lengths, targets, target_lengths, **options)
        hits = [row[:length].tolist() == wanted for row, length in zip(targets, target_lengths)]
        return losses.masked_fill(torch.tensor(hits), float("inf"))

    model.loss = loss


def work(job: dict, rank: int) -> int:
    for fault in job.get("faults", ()):
        if fault["rank"] == rank:
            send_when_called(fault["place"], fault["call"], fault["delay"], fault["signals"])
    try:
        settings = load_config(job["settings"], job["overrides"])
        run = trainer.Trainer(settings, Path(job["data"]), Path(job["out"]))
        if job.get("spoil"):
            spoil(run.model, run.recognizer.tokenizer.encode(job["spoil"]))
        run.run()
        return 0
    except SystemExit as stop:
        return stop.code
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 1


def start(job: dict, rank: int, port: int, stderr) -> int:
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(120)  # whatever hangs ends
    os.dup2(stderr.fileno(), 2)
    os.dup2(2, 1)  # standard output is the server's
    sys.stderr = os.fdopen(2, "w", buffering=1)
    count = job.get("count", 1)
    if count > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    code = work(job, rank)
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        port = free_port()
        with ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(job.get("count", 1))]
            pids = [start(job, rank, port, file) for rank, file in enumerate(files)]
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
            for file in files:
                file.seek(0)
            print(json.dumps([{"code": code, "err": file.read()} for code, file in zip(codes, files)]), flush=True)


if __name__ == "__main__":
    main()
