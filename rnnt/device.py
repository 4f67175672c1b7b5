"""Devices, and the number formats that a model computes in on each of them."""

import functools
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_SWITCHES = (torch.backends.cuda.matmul, torch.backends.cudnn.rnn, torch.backends.cudnn.conv)
_X86 = ("x86_64", "AMD64")

# The threads that are inside float32_products, by their precision, and the switches before the first one entered.
_lock = threading.Lock()
_inside: list[str] = []
_before: list[str] = []


def find_device(name: str) -> torch.device:
    """Return the device of that name; "auto" takes a GPU if there is one. Raises ValueError if it cannot be used."""
    available = torch.cuda.is_available()
    try:
        device = torch.device(name if name != "auto" else "cuda" if available else "cpu")
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {name!r}; choose auto, cpu, cuda or cuda:1")
    if device.type == "cuda" and not (available and (device.index or 0) < torch.cuda.device_count()):
        raise ValueError(f"device is {name!r}, but PyTorch finds no such GPU here; choose auto or cpu")
    return device


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context of a forward pass: matrix products are in bfloat16 or float16 if `precision` says so.

    On a CPU that cannot compute in these types they stay in float32, so a model trained on a GPU can be used there.
    """
    dtype = _AUTOCAST.get(precision)
    if device.type == "cpu" and dtype is not None and not _cpu_has(dtype):
        dtype = None
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


@contextmanager
def float32_products(precision: str, device: torch.device) -> Iterator[None]:
    """Multiply float32 matrices on a GPU as `set_precision(precision)` sets it, for the length of a `with`.

    The switch is one for the whole process. If several threads are inside at the same time, TF32 is used only if all
    of them allow it.
    """
    if device.type != "cuda":
        yield
        return
    with _lock:
        if not _inside:
            _before[:] = [switch.fp32_precision for switch in _SWITCHES]
        _inside.append(precision)
        _set_products(_strictest())
    try:
        yield
    finally:
        with _lock:
            _inside.remove(precision)
            if _inside:
                _set_products(_strictest())
            else:
                for switch, rounding in zip(_SWITCHES, _before):
                    switch.fp32_precision = rounding


def _strictest() -> str:
    return "tf32" if all(precision == "tf32" for precision in _inside) else "float32"


def _set_products(precision: str) -> None:
    for switch in _SWITCHES:
        switch.fp32_precision = "tf32" if precision == "tf32" else "ieee"


def set_precision(precision: str, device: torch.device) -> list[str]:
    """Set how this process multiplies float32 matrices on a GPU. Returns lines that the user should read.

    "tf32" rounds the matrices to 10 bits of mantissa. All other settings keep float32 whole, in the LSTMs too, which
    cuDNN would compute in TF32 by PyTorch's default. Raises ValueError if the device cannot compute as asked.
    """
    if device.type == "cuda":
        _set_products(precision)
        return []
    if precision == "tf32":
        return ["a CPU has no TF32: float32 is used"]
    if precision == "float16" and not _cpu_has(torch.float16):
        raise ValueError("precision=float16 needs a GPU; on this CPU choose float32")
    if precision == "bfloat16" and not _cpu_has(torch.bfloat16):
        return ["this CPU has no LSTMs in bfloat16, which take AVX512: float32 is used"]
    if precision == "bfloat16" and platform.machine() in _X86 and not cpu_gains_by_bfloat16():
        return ["this CPU multiplies no faster in bfloat16 than in float32, and trains more slowly"]
    return []


@functools.cache
def cpu_gains_by_bfloat16() -> bool:
    """Return whether an x86 processor multiplies matrices faster in bfloat16 than in float32.

    Processors with AMX do. Intel's AVX512-BF16 alone has half of float32's rate (165 and 325 GFLOP/s on two cores of a
    Sapphire Rapids without AMX). Without either, oneDNN converts the matrices and has an eighth of the rate. AMD
    processors with AVX512-BF16 are assumed to be faster; this has not been measured.
    """
    if torch.cpu._is_amx_tile_supported():
        return True
    return torch.cpu._is_avx512_bf16_supported() and "GenuineIntel" not in _processor()


def _processor() -> str:
    """Return Linux's description of the first processor."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").partition("\n\n")[0] if path.is_file() else ""


@functools.cache
def _cpu_has(dtype: torch.dtype) -> bool:
    """Return whether an LSTM runs in this type, which depends on the CPU and on oneDNN's version."""
    try:
        with torch.autocast("cpu", dtype), torch.random.fork_rng(devices=[]):
            torch.nn.LSTM(8, 8)(torch.zeros(1, 1, 8))
    except RuntimeError:
        return False
    return True
