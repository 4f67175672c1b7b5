"""The benchmark of a job on a cluster: its recordings, the processes that it kills, and the work that does nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from rnnt.cluster.inputs import Recording
from rnnt.cluster.ledger import SCHEMA, open_ledger

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def bench():
    import bench_cluster

    return bench_cluster


def test_recordings_are_short_and_long(bench, tmp_path):
    hours = bench.make_recordings(GOLDEN / "data" / "valid", tmp_path, 3, 2, 0.2)
    seconds = {file.stem: soundfile.info(file).duration for file in tmp_path.iterdir()}
    assert len(seconds) == 5 and sum(seconds.values()) == pytest.approx(3600 * hours)
    assert all((length >= 12) == name.startswith("long") for name, length in seconds.items())


def test_processes_below_a_process_are_ended_with_it(bench):
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    with bench.started([sys.executable, "-c", program]) as process:
        while not (below := bench.descendants(process.pid)):
            assert process.poll() is None
        assert bench.processes()[below[0]][0] == process.pid
    assert process.returncode is not None and not set(below) & bench.processes().keys()
    bench.kill(process.pid)  # it is gone, and that is no error
    assert os.getpid() in bench.processes()


def test_rows_of_workers_that_do_nothing_fit_a_shard(bench, tmp_path):
    recordings, work = [Recording(f"/{i}", 1, 1) for i in range(5)], bench.Idle(2)
    rows = work.rows(recordings, [work.open().decode(window) for window in work.read(recordings)])
    job = {"task": "plan", "model": "", "settings": ""}
    with open_ledger(tmp_path, iter(recordings), job, "parquet") as ledger:
        ledger.write(0, rows)
    assert bench.final_table(tmp_path).schema.equals(SCHEMA) and bench.final_table(tmp_path).to_pylist() == rows


def test_the_command_explains_itself():
    program = Path(__file__).parents[2] / "benchmarks" / "bench_cluster.py"
    out = subprocess.run([sys.executable, program, "--help"], check=True, capture_output=True, text=True).stdout
    assert "--kills" in out
