"""The processes of a run: the rank and device of this one, and sums and values that all of them share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rnnt.device import find_device
from rnnt.text import reason, visible
from rnnt.training.launch import launched, tell_launcher

_Value = TypeVar("_Value")

# Longer than anything that one process does while the others wait: learning a tokenizer, a validation's largest share.
_TIMEOUT = timedelta(minutes=30)

# Groups that were left, kept to the process's end. Freed with the module that shares gradients, a gloo group waits for
# its thread while holding Python's lock, and that thread, at the end of a broadcast, may be waiting for the lock.
_left: list = []
# Seconds from the last communication to the end of a process. A gloo thread takes the lock once more after the call
# has returned; if the interpreter ends meanwhile, the process aborts: "terminate called without an active exception".
_LAST = 0.2


class Processes:
    """The processes that train one model together.

    rank: the number of this process, counted from 0; count: how many there are; device: the one this process uses.

    torchrun's environment variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) tell how to join the
    others. Without them there is one process. Processes on GPUs talk through NCCL, processes on CPUs through gloo. With
    several processes, the devices "auto" and "cuda" mean the GPU that has the number of the process on its machine.

    All processes must call the methods that communicate, in the same order. Raises ValueError if there is no GPU for
    this process alone.
    """

    def __init__(self, device: str):
        if not launched() or os.environ["WORLD_SIZE"] == "1":
            self.rank, self.count, self.device = 0, 1, find_device(device)
            return
        self.rank, self.count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.device = _own_device(device, int(os.environ.get("LOCAL_RANK", "0")))
        backend = "gloo"
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
            backend = "cpu:gloo,cuda:nccl"  # what is no tensor on a GPU travels without disturbing it
        dist.init_process_group(backend, timeout=_TIMEOUT)

    @property
    def main(self) -> bool:
        """Whether this is the first process. It alone writes files and prints."""
        return self.rank == 0

    def share_gradients(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that a backward pass leaves the mean of the processes' gradients in its parameters.

        The forward and backward passes within `unshared` are the exception.
        """
        if self.count == 1:
            return module
        return DistributedDataParallel(module, gradient_as_bucket_view=True)

    def unshared(self, module: nn.Module) -> AbstractContextManager:
        """Let passes of a module from `share_gradients` add up gradients in this process alone, during a `with`."""
        return nullcontext() if self.count == 1 else module.no_sync()

    def add(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over the processes. The tensor itself may be overwritten."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: _Value) -> list[_Value]:
        """Return the values of all processes, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def from_main(self, compute: Callable[[], _Value]) -> _Value:
        """Run `compute` in the first process alone, and return its result in all of them.

        If it raises an error, the other processes exit with code 2. They print nothing, but hand the line of the error
        to the launcher, which prints the line of the process that it finds ended first.
        """
        if self.count == 1:
            return compute()
        box, error = [None, ""], None
        if self.main:
            try:
                box[0] = compute()
            except Exception as problem:
                box[1], error = reason(problem, None), problem
        dist.broadcast_object_list(box)
        if box[1]:
            time.sleep(_LAST)
        if error is not None:
            raise error
        if box[1]:
            tell_launcher(visible(box[1]))
            raise SystemExit(2)
        return box[0]

    def leave(self) -> None:
        """End the communication. After this no process waits for another."""
        if self.count > 1:
            time.sleep(_LAST)
            _left.append(dist.group.WORLD)
            dist.destroy_process_group()


def _own_device(name: str, local_rank: int) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device={name} with several processes; choose cuda (each process takes its own GPU) or cpu")
    device = find_device(name)
    if device.type != "cuda":
        return device
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"process {local_rank + 1} of this machine has no GPU: there are {torch.cuda.device_count()}; "
            "start as many processes, or set device=cpu"
        )
    return torch.device("cuda", local_rank)
