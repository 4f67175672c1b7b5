"""Current and peak memory of this process, on a CPU or a GPU. On a CPU without Linux the values are NaN."""

import ctypes
import gc
import sys
from pathlib import Path

import torch

MIB = 2**20


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Let `peak` count from the memory that is held now."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        # Give freed memory back to the system: if later allocations reused it, the peak would not show them.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> float:
    """Return the peak in MiB since `reset_peak`."""
    return torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else status_kib("VmHWM") / 1024


def held(device: torch.device) -> float:
    """Return the memory in MiB that is held now."""
    return torch.cuda.memory_allocated(device) / MIB if device.type == "cuda" else status_kib("VmRSS") / 1024


def status_kib(key: str) -> float:
    """Return a value in KiB from /proc/self/status."""
    if sys.platform != "linux":
        return float("nan")
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))
