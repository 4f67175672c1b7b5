"""The number of threads: what other programs leave free, and never what the user has not set."""

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Barrier, get_ident

import pytest
import torch

from rnnt import threads
from rnnt.threads import Threads, adapting, side_by_side

CPU = torch.device("cpu")
TICK = os.sysconf("SC_CLK_TCK")


class Machine:
    """A machine of four cores, as /proc/stat describes it, and a clock; both move on when told."""

    def __init__(self, folder):
        self.stat, self.seconds, self.others, self.own = folder / "stat", 100.0, 0.0, 0.0
        self.write()

    def write(self):
        columns = [[0, 0, 0, 5, 0, 0, 0, 0, 0, 0] for _ in range(4)]
        columns[1][0] = round(self.own * TICK)  # user
        columns[2][7] = round(self.others / 2 * TICK)  # steal: the host of a virtual machine took it
        columns[3][1] = round(self.others / 2 * TICK)  # nice
        lines = [f"cpu{n} {' '.join(map(str, column))}" for n, column in enumerate(columns)]
        self.stat.write_text("\n".join(["cpu  9 9 9 9 9 9 9 9 9 9", *lines, "intr 1 2 3", ""]))

    def run(self, seconds, others, own=1.0):
        self.seconds += seconds
        self.others += seconds * others
        self.own += seconds * own
        self.write()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    machine = Machine(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_STAT", machine.stat)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(threads.os, "times", lambda: (machine.own, 0.0, 7.0, 7.0, 7.0))
    monkeypatch.setattr(threads.time, "monotonic", lambda: machine.seconds)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield machine
    torch.set_num_threads(before)


def test_threads_take_the_cores_that_others_leave(machine):
    adapted = Threads()
    for others, expected in [(0, 4), (0.2, 4), (1, 3), (2, 2), (3, 1), (4, 1), (9, 1), (1, 3), (0, 4)]:
        machine.run(2, others, own=4 - min(others, 4))
        adapted.adapt()
        assert torch.get_num_threads() == expected


def test_a_look_counts_from_the_look_before_and_not_too_soon(machine):
    adapted = Threads()
    machine.run(1000, 0)
    adapted.adapt()
    machine.run(threads.SECONDS / 2, 4)
    adapted.adapt()
    assert torch.get_num_threads() == 4
    machine.run(threads.SECONDS, 4)
    adapted.adapt()
    assert torch.get_num_threads() == 1


def test_cores_that_this_process_may_not_use_do_not_count(machine, monkeypatch):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: {0, 1, 3})
    adapted = Threads()
    machine.run(1, 2)  # half of it on core 2
    adapted.adapt()
    assert torch.get_num_threads() == 2


def test_more_threads_than_at_first_are_never_taken(machine):
    torch.set_num_threads(2)
    adapted = Threads()
    for others, expected in [(1, 2), (3, 1), (0, 2)]:
        machine.run(1, others)
        adapted.adapt()
        assert torch.get_num_threads() == expected


def test_a_number_that_the_user_sets_stays(machine, monkeypatch):
    adapted = Threads()
    machine.run(1, 2)
    adapted.adapt()
    torch.set_num_threads(3)
    for _ in range(3):
        machine.run(1, 3)
        adapted.adapt()
        assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    adapted = Threads()
    machine.run(1, 3)
    adapted.adapt()
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("content", [None, "", "cpu0 1 2\ncpu1\ncpu2 x\n", "no cores\n", "\x00"])
def test_a_system_that_does_not_tell_keeps_its_threads(machine, content):
    machine.stat.unlink()
    if content is not None:
        machine.stat.write_text(content)
    for adapted in (Threads(), Threads()):
        machine.seconds += 1
        adapted.adapt()
        assert torch.get_num_threads() == 4


def test_threads_are_adapted_before_each_item(machine):
    adapted, seen = Threads(), []

    def items():
        for others in (1, 2, 3):
            seen.append(torch.get_num_threads())
            machine.run(1, others)
            yield others

    assert list(adapting(items(), adapted)) == [1, 2, 3]
    assert seen == [4, 3, 2] and torch.get_num_threads() == 1


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_items_are_worked_on_side_by_side_and_come_in_order(two_threads):
    both = Barrier(2, timeout=20)
    seen = []

    def work(number):
        if number < 2:
            both.wait()  # broken unless two threads are here
        seen.append((get_ident(), torch.get_num_threads()))
        return -number

    assert list(side_by_side(work, range(9), CPU)) == [-number for number in range(9)]
    idents, threads = zip(*seen)
    assert len(set(idents)) == 2 and get_ident() not in idents and set(threads) == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("count", "items"), [(1, [1, 2, 3]), (2, [5]), (2, [])])
def test_a_single_thread_or_item_is_worked_on_by_the_caller(two_threads, count, items):
    torch.set_num_threads(count)
    assert list(side_by_side(lambda item: (item, get_ident()), items, CPU)) == [(item, get_ident()) for item in items]


def test_a_gpu_is_fed_by_the_caller_alone(two_threads):
    gpu = torch.device("cuda")
    assert list(side_by_side(lambda item: (item, get_ident()), [1, 2, 3], gpu)) == [(x, get_ident()) for x in (1, 2, 3)]


def test_an_error_of_an_item_is_that_of_its_place_and_leaves_the_threads_as_they_were(two_threads):
    found = side_by_side(lambda number: 6 // number, [3, 2, 0, 1], CPU)
    assert [next(found), next(found)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert torch.get_num_threads() == 2


GRADIENTS = """
import torch
from rnnt.model import Transducer
from rnnt.settings import load_config

torch.manual_seed(0)
model = Transducer(160, 29, load_config("demo", ["model.encoder.lstm.time_stack=2"]).model)
for batch, length in ((16, 150), (16, 61), (7, 400)):
    inputs, lengths = torch.randn(batch, length, 160), torch.randint(length // 2, length + 1, (batch,))
    targets, target_lengths = torch.randint(28, (batch, 30)), torch.randint(10, 31, (batch,))
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(1)  # of dropout
        model.zero_grad()
        frames, frame_lengths, *_ = model.encoder(inputs, lengths)
        model.loss(frames, frame_lengths, targets, target_lengths).sum().backward()
        found.append([x.grad for x in model.parameters() if x.grad is not None])
    assert all(torch.equal(*pair) for others in found[1:] for pair in zip(found[0], others))
"""


@pytest.mark.skipif(
    not torch.backends.mkl.is_available() or "GenuineIntel" not in Path("/proc/cpuinfo").read_text(),
    reason="MKL promises the same bits for any number of threads on Intel's processors",
)
def test_gradients_have_the_same_bits_for_any_number_of_threads():
    environment = {key: value for key, value in os.environ.items() if key not in ("MKL_CBWR", "OMP_NUM_THREADS")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    subprocess.run([sys.executable, "-c", GRADIENTS], env=environment, check=True)


def test_real_cores_are_read():
    cores = threads._allowed_cores()
    first = threads._times(cores)
    started = time.process_time()
    while time.process_time() - started < 0.05:  # several ticks of the system's clock
        pass
    second = threads._times(cores)
    if first is not None:  # Linux
        assert second[0] > first[0] and second[1] >= first[1] and second[2] >= first[2] + 0.03
