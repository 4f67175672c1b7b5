"""A job on a cluster: its rate, two machines against one, what kills change, and what a driver needs for a large job.

    python benchmarks/bench_cluster.py rate MODEL SPLIT [--short 2000] [--long 10] [--minutes 20]
    python benchmarks/bench_cluster.py nodes MODEL SPLIT [--short ...] [--long ...] [--minutes ...]
    python benchmarks/bench_cluster.py kills MODEL SPLIT [--kills 30] [--every 1 10] [--seed 0] [--short ...]
    python benchmarks/bench_cluster.py plan [--rows 10000000] [--windows 1]

The recordings are made of the utterances of a split: `--short` recordings of one utterance, and `--long` recordings of
`--minutes`. `rate` runs the plain command and then the one with --cluster, all cores for each. `nodes` starts one Ray
node on the first core, and then a second one on the second core. `kills` ends the driver, an actor or a reader with
SIGKILL, at random, again and again, repeats the command after the driver was killed, and compares the final table with
that of an undisturbed run. `plan` runs a job of so many rows whose workers do nothing. `--save` appends the rows to
benchmarks/results/cluster.csv.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from bench_long import join
from memory import status_kib
from results import append_rows

from rnnt.dataset import Dataset

COMMAND = [sys.executable, "-m", "rnnt.cli"]
ROLES = {"actor": "ray::DecodingActor", "reader": "ray::read_portion"}  # how Ray calls its processes


def make_recordings(data: Path, folder: Path, short: int, long: int, minutes: float) -> float:
    """Write recordings into a folder, and return their hours."""
    dataset, seconds = Dataset(data), 0.0
    for number in range(short):
        samples = dataset.read(number % len(dataset))[0].input
        soundfile.write(folder / f"short-{number:05d}.flac", samples, dataset.sample_rate)
        seconds += len(samples) / dataset.sample_rate
    for number in range(long):
        samples, _ = join(dataset, 60 * minutes, number)
        soundfile.write(folder / f"long-{number:05d}.flac", samples, dataset.sample_rate)
        seconds += len(samples) / dataset.sample_rate
    return seconds / 3600


def on_cluster(model: str, recordings: Path, out: Path, address: str = "local") -> list[str]:
    """Return the command of a job."""
    return [*COMMAND, "transcribe", model, str(recordings), "--out", str(out), "--cluster", address]


def timed(command: Sequence[str], output: Path | None = None) -> float:
    """Run a command, and return its seconds."""
    begin = time.perf_counter()
    with open(output or os.devnull, "wb") as file:
        subprocess.run(command, check=True, stdout=file)
    return time.perf_counter() - begin


def final_table(out: Path) -> pa.Table:
    """Return all rows of a job."""
    return pa.concat_tables(pq.read_table(file) for file in sorted(out.glob("part-*.parquet")))


def measure_rate(model: str, recordings: Path, hours: float, folder: Path) -> list[dict[str, object]]:
    """Return the row of the plain command and that of the cluster, with how many texts are the same."""
    printed, out = folder / "plain.jsonl", folder / "out"
    plain = timed([*COMMAND, "transcribe", model, str(recordings), "--json"], printed)
    cluster = timed(on_cluster(model, recordings, out))
    texts = {record["path"]: record["text"] for record in map(json.loads, printed.read_text().splitlines())}
    rows = final_table(out).select(["path", "text"]).to_pylist()
    same = sum(texts[row["path"]] == row["text"] for row in rows)
    more = {"ratio": plain / cluster, "same_texts": same, "recordings": len(rows)}
    return [
        {"case": "plain", "hours": hours, "seconds": plain, "x_real_time": 3600 * hours / plain},
        {"case": "cluster", "hours": hours, "seconds": cluster, "x_real_time": 3600 * hours / cluster, **more},
    ]


@contextmanager
def started(command: Sequence[str]) -> Iterator[subprocess.Popen]:
    """Start a process, and end it and all processes below it afterwards."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        killed = {*descendants(process.pid), process.pid}
        for pid in killed:
            kill(pid)
        process.wait()
        while killed & processes().keys():  # a kill takes effect a moment later
            time.sleep(0.01)


def measure_nodes(
    model: str, recordings: Path, hours: float, folder: Path, port: int = 6399
) -> list[dict[str, object]]:
    """Return the row of one node on the first core, and that of two on a core each."""
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus", "1"]
    head = ["taskset", "-c", "0", *ray, "--head", "--port", str(port), "--include-dashboard", "false"]
    second = ["taskset", "-c", "1", *ray, "--address", f"127.0.0.1:{port}"]
    rows: list[dict[str, object]] = []
    os.environ["RAY_AUTH_MODE"] = "disabled"  # the machine's own token, if it has one, would have to be given to all
    with ExitStack() as running:
        for nodes, command in ((1, head), (2, second)):
            running.enter_context(started(command))
            time.sleep(20)
            out = folder / f"nodes-{nodes}"
            seconds = timed(["taskset", "-c", "0", *on_cluster(model, recordings, out, f"127.0.0.1:{port}")])
            rows.append({"case": f"{nodes} nodes", "hours": hours, "seconds": seconds, "rate": 3600 * hours / seconds})
    rows[1]["ratio"] = rows[0]["seconds"] / rows[1]["seconds"]
    rows[1]["same_tables"] = final_table(folder / "nodes-1").equals(final_table(folder / "nodes-2"))
    return rows


def processes() -> dict[int, tuple[int, str]]:
    """Return the parent and the command line of each process that has not ended."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(folder.name)] = int(parent), (folder / "cmdline").read_text()
        except (OSError, ValueError):
            continue
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes below a process, the deepest last."""
    every, result = processes(), [pid]
    for each in result:
        result += [child for child, (parent, _) in every.items() if parent == each]
    return result[1:]


def kill(pid: int) -> None:
    """End a process at once, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def disturbed(command: Sequence[str], out: Path, kills: int, every: Sequence[float], rng: random.Random) -> dict:
    """Run a job to its end while processes of it are killed at random. Return how many of each kind were killed."""
    done = dict.fromkeys(("driver", *ROLES), 0)
    role = rng.choice(list(done))  # of the next victim, for which the time may have to be waited
    for run in count():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        below: set[int] = set()
        following = time.monotonic() + rng.uniform(*every)
        while process.poll() is None:
            time.sleep(0.05)
            below |= set(descendants(process.pid))
            if sum(done.values()) >= kills or time.monotonic() < following:
                continue
            found = [
                pid for pid, (_, line) in processes().items() if pid in below and line.startswith(ROLES.get(role, "-"))
            ]
            victims = [process.pid] if role == "driver" else found
            if victims:
                kill(rng.choice(victims))
                done[role] += 1
                role = rng.choice(list(done))
                following = time.monotonic() + rng.uniform(*every)
        if process.returncode != -signal.SIGKILL:
            return {**done, "runs": run + 1, "exit": process.returncode}
        time.sleep(1)  # in which Ray notices that its driver is gone
        for pid in below & processes().keys():
            kill(pid)


def measure_kills(
    model: str, recordings: Path, kills: int, every: Sequence[float], seed: int, folder: Path
) -> list[dict[str, object]]:
    """Return a row for each job that was disturbed, until there were enough kills."""
    calm = folder / "calm"
    timed(on_cluster(model, recordings, calm))
    expected, rng, rows, total = final_table(calm), random.Random(seed), [], 0
    while total < kills:
        out = folder / f"disturbed-{len(rows)}"
        done = disturbed(on_cluster(model, recordings, out), out, kills - total, every, rng)
        total += sum(done[role] for role in ("driver", *ROLES))
        rows.append({"case": f"job {len(rows)}", **done, "same_tables": final_table(out).equals(expected)})
        print(*rows[-1].values(), flush=True)
    return rows


@dataclass(frozen=True)
class Idle:
    """A `rnnt.cluster.schedule.Work` whose workers do nothing. windows: of each portion."""

    windows: int

    @property
    def read(self):
        """The function that readers run. It reads nothing, and yields numbers in place of windows."""
        return partial(_no_reading, self.windows)

    def open(self):
        """Return the worker of an actor."""
        return self

    def decode(self, window: int) -> int:
        """Return the window."""
        return window

    def rows(self, recordings: Sequence, results: Sequence[int]) -> list[dict]:
        """Return a row for each recording."""
        assert results == list(range(self.windows))
        return [self.error_row(recording, "") | {"error": None} for recording in recordings]

    def error_row(self, recording, problem: str) -> dict:
        """Return a row without a text."""
        values = {"path": recording.path, "transcribed": 10.0, "left_out": 0.0, "truncated": False, "words": []}
        return {
            **dict.fromkeys(("audio", "text", "settings", "model"), ""),
            "reference": None,
            **values,
            "error": problem,
        }


def _no_reading(windows: int, recordings: Sequence) -> Iterator[int]:
    yield from range(windows)


def measure_plan(rows: int, windows: int, folder: Path) -> list[dict[str, object]]:
    """Return the row of a job that only schedules: its time, and the memory of its driver by tenths of the job."""
    from rnnt.cluster import job
    from rnnt.cluster.inputs import Recording
    from rnnt.cluster.ledger import open_ledger
    from rnnt.cluster.session import connected

    recordings = (
        Recording(f"s3://archive/folder-{i // 1000:06d}/recording-{i:09d}.flac", 600_000, i) for i in range(rows)
    )
    begin, memory = time.perf_counter(), []
    with open_ledger(folder / "out", recordings, {"task": "plan", "model": "", "settings": ""}, "parquet") as ledger:
        listed, size = time.perf_counter() - begin, ledger.tables[0].path.stat().st_size
        write, step = ledger.write, [0]

        def watched(number: int, of_portion: Sequence[dict]) -> None:
            write(number, of_portion)
            step[0] += len(of_portion)
            if step[0] >= rows * (len(memory) + 1) / 10:
                memory.append(round(status_kib("VmRSS") / 1024))

        ledger.write = watched
        with connected("local"):
            begin = time.perf_counter()
            job.run_job(ledger, Idle(windows))
            seconds = time.perf_counter() - begin
        values = {
            "portions": len(ledger.done),
            "windows": windows * len(ledger.done),
            "list_seconds": listed,
            "index_mb": size / 1e6,
            "seconds": seconds,
        }
    tenths = " ".join(map(str, memory))
    return [{"case": f"plan of {rows}", **values, "driver_mib": tenths, "peak_mib": status_kib("VmHWM") / 1024}]


def main() -> None:
    """Print the table of a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rate", "nodes", "kills", "plan"))
    parser.add_argument("model", nargs="?")
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--short", type=int, default=2000)
    parser.add_argument("--long", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--every", type=float, nargs=2, default=(1.0, 10.0), help="bounds of the seconds between two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--windows", type=int, default=1, help="that each portion of the plan is decoded in")
    parser.add_argument("--save", action="store_true", help="append the rows to benchmarks/results/cluster.csv")
    arguments = parser.parse_args()
    if arguments.what != "plan" and arguments.data is None:
        parser.error(f"{arguments.what} needs MODEL and SPLIT")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.what == "plan":
            rows = measure_plan(arguments.rows, arguments.windows, folder)
        else:
            recordings = folder / "recordings"
            recordings.mkdir()
            hours = make_recordings(arguments.data, recordings, arguments.short, arguments.long, arguments.minutes)
            if arguments.what == "rate":
                rows = measure_rate(arguments.model, recordings, hours, folder)
            elif arguments.what == "nodes":
                rows = measure_nodes(arguments.model, recordings, hours, folder)
            else:
                more = arguments.kills, arguments.every, arguments.seed
                rows = measure_kills(arguments.model, recordings, *more, folder)
    for row in rows:
        print(
            *(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()),
            sep=", ",
        )
    if arguments.save:
        append_rows("cluster", rows)


if __name__ == "__main__":
    main()
