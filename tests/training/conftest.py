"""A corpus that a model learns in seconds (three words, each a tone), settings for it, and what a run leaves."""

import errno
import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnt.dataset import write_split
from rnnt.settings import load_config
from rnnt.shard import StoredUtterance
from rnnt.training import checkpoint

TINY = Path(__file__).with_name("tiny.yaml")
TONES = {"low": 300, "mid": 900, "high": 2500}


def speak(words, rng):
    pieces = [np.zeros(rng.integers(400, 800))]
    for word in words:
        t = np.arange(rng.integers(1200, 1800)) / 8000
        pieces += [0.3 * np.sin(2 * np.pi * TONES[word] * rng.uniform(0.97, 1.03) * t), np.zeros(400)]
    samples = np.concatenate(pieces)
    return ((samples + 0.003 * rng.standard_normal(len(samples))) * 32767).astype(np.int16)


def write_tones(folder, count, seed):
    rng = np.random.default_rng(seed)
    texts = (rng.choice(list(TONES), rng.integers(1, 4)).tolist() for _ in range(count))
    utterances = (
        StoredUtterance(f"{folder.name}-{number}", speak(words, rng), " ".join(words), "tone")
        for number, words in enumerate(texts)
    )
    write_split(folder, utterances, 8000, source="tones")


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """The folder of the splits train (26 utterances of 0.2 to 0.9 s at 8 kHz), valid and more."""
    folder = tmp_path_factory.mktemp("tones")
    for name, count, seed in (("train", 26, 0), ("valid", 7, 1), ("more", 6, 2)):
        write_tones(folder / name, count, seed)
    return folder


@pytest.fixture(scope="session")
def tiny():
    """The file with the settings of `settings`."""
    return TINY


@pytest.fixture(scope="session")
def settings():
    """settings(*overrides): settings for the tones. The 26 utterances of train are 7 batches of 4."""
    return lambda *overrides: load_config(TINY, overrides)


@pytest.fixture(scope="session")
def rows():
    """rows(out): the rows of a run's metrics.jsonl."""

    def read(out):
        return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]

    return read


@pytest.fixture(scope="session")
def timeless(rows):
    """timeless(out): the rows without what no two runs have in common."""

    def read(out):
        return [{k: v for k, v in row.items() if k not in ("time", "utterances_per_second")} for row in rows(out)]

    return read


@pytest.fixture(scope="session")
def state_of():
    """state_of(out): the state in a run's newest checkpoint, of which none may be damaged."""

    def read(out):
        state, problems = checkpoint.load_newest(out / "checkpoints")
        assert not problems
        return state

    return read


@pytest.fixture(scope="session")
def assert_same():
    """assert_same(a, b): two states are the same, bit for bit."""

    def same(a, b, place=""):
        assert type(a) is type(b), place
        if isinstance(a, dict):
            assert a.keys() == b.keys(), place
            for key in a:
                same(a[key], b[key], f"{place}.{key}")
        elif isinstance(a, (list, tuple)):
            assert len(a) == len(b), place
            for i, (x, y) in enumerate(zip(a, b)):
                same(x, y, f"{place}[{i}]")
        elif isinstance(a, torch.Tensor):
            assert torch.equal(a, b), place
        else:
            assert a == b, place

    return same


@pytest.fixture(scope="session")
def run_processes():
    """run_processes(*overrides, out=, ...): train in separate processes by a job's fields (see server.py).

    Returns the exit code and the standard error of each.
    """
    command = [sys.executable, str(Path(__file__).parent / "server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"

        def run(*overrides, **job):
            paths = {name: str(job[name]) for name in ("data", "out")}
            server.stdin.write(json.dumps({**job, **paths, "settings": str(TINY), "overrides": overrides}) + "\n")
            server.stdin.flush()
            return [(process["code"], process["err"]) for process in json.loads(server.stdout.readline())]

        yield run
        server.stdin.close()


class Killed(BaseException):
    pass


@pytest.fixture
def killed_at(monkeypatch):
    """killed_at(owner, name, call): a context in which the call'th call of a function, counted from 1, is the last."""

    @contextmanager
    def context(owner, name, call):
        original, count = getattr(owner, name), 0

        def wrapped(*args, **kwargs):
            nonlocal count
            count += 1
            if count == call:
                raise Killed
            return original(*args, **kwargs)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, wrapped)
            yield

    return context


class NearlyFull:
    """A file on a disk with room for `room` more bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.file.write(data[: self.room])
        self.room -= written
        return written

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.fixture
def nearly_full():
    """nearly_full(lines, room): the disk of a LineFile has this room, in bytes, which may be changed later."""

    def fill(lines, room):
        lines._file = NearlyFull(lines._file, room)
        return lines._file

    return fill
