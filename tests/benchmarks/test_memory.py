"""Memory of this process, against the system's own count and against allocations of known size."""

import math
import os
import sys
from pathlib import Path

import pytest
import torch
from memory import MIB, held, peak, reset_peak, status_kib, synchronize

CPU = torch.device("cpu")
linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


@linux
def test_held_memory_is_the_systems_count_of_resident_pages():
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    assert held(CPU) == pytest.approx(resident * os.sysconf("SC_PAGE_SIZE") / MIB, abs=2)
    assert peak(CPU) >= held(CPU) - 2


@linux
def test_the_peak_keeps_what_has_been_freed_until_it_is_reset(pages):
    reset_peak(CPU)
    before = held(CPU)
    block = pages(64)
    assert held(CPU) - before == pytest.approx(64, abs=4)
    block.close()
    assert held(CPU) - before == pytest.approx(0, abs=4)
    assert peak(CPU) - before == pytest.approx(64, abs=4)
    reset_peak(CPU)
    assert peak(CPU) - before == pytest.approx(0, abs=4)


def test_memory_is_unknown_without_linux(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    reset_peak(CPU)
    assert math.isnan(held(CPU)) and math.isnan(peak(CPU)) and math.isnan(status_kib("VmRSS"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpus_peak_keeps_what_has_been_freed_until_it_is_reset():
    device = torch.device("cuda")
    reset_peak(device)
    before = held(device)
    block = torch.ones(64 * MIB, dtype=torch.uint8, device=device)
    synchronize(device)
    assert held(device) - before == 64
    del block
    assert (held(device) - before, peak(device) - before) == (0, 64)
    reset_peak(device)
    assert peak(device) == before
