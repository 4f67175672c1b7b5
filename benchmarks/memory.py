"""Current and peak memory of a process, on a CPU or a GPU. On a CPU without Linux the values are NaN.

torch is imported for a GPU alone, so that a process without it can be measured.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MIB = 2**20


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished all its work."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Let `peak` count from the memory that is held now."""
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        # Give freed memory back to the system: if later allocations reused it, the peak would not show them.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> float:
    """Return the peak in MiB since `reset_peak`."""
    if device.type != "cuda":
        return status_kib("VmHWM") / 1024
    import torch

    return torch.cuda.max_memory_allocated(device) / MIB


def held(device: torch.device) -> float:
    """Return the memory in MiB that is held now."""
    if device.type != "cuda":
        return status_kib("VmRSS") / 1024
    import torch

    return torch.cuda.memory_allocated(device) / MIB


def status_kib(key: str, process: int | str = "self") -> float:
    """Return a value in KiB from /proc/PROCESS/status. process: its number; this one if it is not given."""
    if sys.platform != "linux":
        return float("nan")
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))
