"""Time and memory that a share of the work takes."""

import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Usage:
    """Seconds of work, and the most memory that was held during it.

    peak_bytes: 0 if not measured. On a GPU this is the memory of all tensors, on a CPU that of the whole process.
    """

    seconds: float = 0.0
    peak_bytes: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.seconds + other.seconds, max(self.peak_bytes, other.peak_bytes))


def measured(work: Callable, *arguments, device: torch.device, peak: bool = False) -> tuple:
    """Return the result of work(*arguments), done on a device, and its usage.

    peak: measure memory too. This resets the peak that the system reports for the process, or torch for the GPU.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # so that earlier work does not count
    if peak:
        _reset_peak(device)
    before = time.perf_counter()
    result = work(*arguments)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, Usage(time.perf_counter() - before, _peak_bytes(device) if peak else 0)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not Linux, or forbidden: the peak is that of the process so far
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
