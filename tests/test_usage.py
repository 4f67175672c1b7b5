"""Measurements of time and memory."""

import time
from pathlib import Path

import pytest
import torch

from rnnt.usage import Usage, measured

CPU = torch.device("cpu")


def test_usages_add_their_seconds_and_take_the_higher_peak():
    assert Usage(1.5, 10) + Usage(2.0, 7) == Usage(3.5, 10)
    assert Usage() + Usage(2.0, 7) == Usage(2.0, 7)


def test_the_result_and_its_seconds():
    result, usage = measured(lambda x, y: (time.sleep(0.05), x + y)[1], 2, 3, device=CPU)
    assert result == 5 and usage.seconds >= 0.05 and usage.peak_bytes == 0


def resettable():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


@pytest.mark.skipif(not resettable(), reason="this system does not let a process reset its peak memory")
def test_the_peak_is_of_this_work_alone():
    def fill(mib):
        return torch.ones(mib * 2**18).sum()

    _, large = measured(fill, 300, device=CPU, peak=True)
    _, small = measured(fill, 1, device=CPU, peak=True)
    assert 250 * 2**20 < large.peak_bytes - small.peak_bytes < 350 * 2**20


def test_without_the_system_file_the_peak_is_that_of_the_process(monkeypatch):
    def fail(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "write_text", fail)
    monkeypatch.setattr(Path, "read_text", fail)
    _, usage = measured(lambda: None, device=CPU, peak=True)
    assert 2**20 < usage.peak_bytes < 2**45
