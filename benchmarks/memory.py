"""What this process holds, and held at the most, of a CPU's or a GPU's memory; NaN where the system does not tell."""

import ctypes
import gc
import sys
from pathlib import Path

import torch

MIB = 2**20


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """From here on `peak` counts anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what was freed must not serve unseen
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> float:
    """MiB at most since `reset_peak`."""
    return torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else status_kib("VmHWM") / 1024


def held(device: torch.device) -> float:
    """MiB now."""
    return torch.cuda.memory_allocated(device) / MIB if device.type == "cuda" else status_kib("VmRSS") / 1024


def status_kib(key: str) -> float:
    """A line of /proc/self/status."""
    if sys.platform != "linux":
        return float("nan")
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))
