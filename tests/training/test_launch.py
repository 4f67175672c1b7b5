"""Processes as users start them: `rnnt train --processes`, torchrun, and what is said when one of them dies."""

import os
import socket
import subprocess
import sys

import pytest

from rnnt.training.launch import tell_launcher
from rnnt.training.run import lock_run

STEPS = 14

# Python runs this in every process before anything else. The second process of the first generation dies in its run.
DIES = """
import os, signal, threading, time

def die():
    while not os.path.exists(os.environ["DIES_AFTER"]):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

if os.environ.get("RANK") == "1" and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
    threading.Thread(target=die, daemon=True).start()
"""


@pytest.fixture
def start(tones, tiny, tmp_path):
    """start(*launcher, more=) -> a process that trains in tmp_path/run, its output to be read by communicate()."""
    (tmp_path / "path").mkdir()
    started = []

    def run(*launcher, more=()):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "path"), "OMP_NUM_THREADS": "1"}
        environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        environment["DIES_AFTER"] = str(tmp_path / "run" / "checkpoints" / "step-00000003")
        command = [*launcher, "train", tiny, "data.valid=[]", "train.checkpoint_every=1"]
        command += ["--data", tones, "--out", tmp_path / "run", *more]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen([sys.executable, "-m", *map(str, command)], env=environment, text=True, stderr=pipe)
        )
        return started[-1]

    yield run
    for process in started:
        process.terminate()  # the launcher takes its processes with it
        process.wait()


def test_a_process_that_dies_ends_the_run_with_a_line_that_says_which(start, rows, tmp_path):
    (tmp_path / "path" / "sitecustomize.py").write_text(DIES)
    launcher = start("rnnt.cli", more=["--processes", "2"])
    _, said = launcher.communicate(timeout=120)
    assert launcher.returncode == 137
    assert said.splitlines()[-1] == "error: process 1 was killed by SIGKILL", said
    assert 3 <= rows(tmp_path / "run")[-1]["step"] < STEPS


def test_two_machines_one_under_torchrun_start_again_when_a_process_dies(start, rows, tmp_path):
    (tmp_path / "path" / "sitecustomize.py").write_text(DIES)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    more = ["--nodes", "2", "--rendezvous", place, "--restarts", "1"]
    torchrun = [
        "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "1",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--rdzv-id", "rnnt", "-m", "rnnt.cli",
    ]  # fmt: skip
    machines = [start("rnnt.cli", more=more), start(*torchrun)]
    said = [machine.communicate(timeout=120)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(1, STEPS + 1))
    assert "".join(said).count("parameters, 2 x cpu, run ") == 2  # two generations, said by the first process
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()


def test_a_mistake_is_told_once(start):
    launcher = start("rnnt.cli", more=["--processes", "2", "train.batch=5"])
    _, said = launcher.communicate(timeout=120)
    assert launcher.returncode == 2
    assert said == "error: train.batch (5) is not a multiple of train.accumulation x processes (2)\n"


def test_a_second_program_in_a_runs_folder_is_told_once(start, tmp_path):
    with lock_run(tmp_path / "run"):
        launcher = start("rnnt.cli", more=["--processes", "2"])
        _, said = launcher.communicate(timeout=120)
    assert launcher.returncode == 2
    line = f"error: another program trains in {tmp_path / 'run'}; wait for its end, or choose another --out\n"
    assert said == line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--processes", "2", "optim.lrr=5"], "error: 'optim.lrr=5': unknown key optim.lrr"),
        (["--nodes", "2"], "error: 2 machines need a place to meet: --rendezvous HOST:PORT"),
    ],
)
def test_a_mistake_that_needs_no_process_to_be_seen_starts_none(start, more, message):
    launcher = start("rnnt.cli", more=more)
    _, said = launcher.communicate(timeout=120)
    assert launcher.returncode == 2 and said.startswith(message) and said.count("\n") == 1


def test_an_error_that_the_launchers_disk_has_no_room_for_is_left_to_the_process(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    assert not tell_launcher("a line")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    assert tell_launcher("a line") and "a line" in (tmp_path / "error.json").read_text()
    (tmp_path / "full.json").symlink_to("/dev/full")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "full.json"))
    assert not tell_launcher("a line") and not (tmp_path / "full.json").exists()
