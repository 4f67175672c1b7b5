import errno
import json
import os
import select
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import soundfile

import rnnt.prepare
import rnnt.shard
from rnnt.corpora import Split, Utterance, folder
from rnnt.dataset import Dataset
from rnnt.files import locked
from rnnt.prepare import prepare

SHARD_BYTES = 60_000


def noise(seed, seconds, sample_rate):
    return np.random.default_rng(seed).integers(-3000, 3000, round(seconds * sample_rate)).astype(np.int16)


def refuse(reason, sample_rate):
    raise OSError(reason)


def interrupt(sample_rate):
    raise KeyboardInterrupt


def utterances(count, **replaced):
    """Good utterances `u0`, `u1`, ...; those in `replaced` are read by the function given there."""
    return [
        Utterance(f"u{n}", f"text {n}", f"s{n % 2}", replaced.get(f"u{n}", partial(noise, n, 0.2 + 0.02 * (n % 7))))
        for n in range(count)
    ]


def contents(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder of the user's recordings, some of them unusable."""
    source = tmp_path_factory.mktemp("recordings")
    for number in range(40):
        soundfile.write(source / f"r{number:02d}.wav", noise(number, 0.3, 16000), 16000)
        (source / f"r{number:02d}.txt").write_text(f"number {number}")
    (source / "r05.wav").write_bytes(b"")
    (source / "r06.wav").write_bytes(b"no audio at all, only text")
    (source / "r07.wav").write_bytes((source / "r07.wav").read_bytes()[:5000])
    soundfile.write(source / "r08.wav", noise(8, 0.05, 16000), 16000)
    soundfile.write(source / "r09.wav", np.zeros(0, np.int16), 16000)
    (source / "r10.txt").write_text(" \n")
    (source / "r11.txt").unlink()
    (source / "r12.wav").unlink()
    return source


@pytest.fixture(scope="module")
def undisturbed(recordings, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    prepare(folder.splits(recordings, split="all"), out, workers=1, shard_bytes=SHARD_BYTES)
    return contents(out)


def test_writes_a_dataset_and_lists_what_it_left_out(tmp_path, recordings):
    summary = prepare(folder.splits(recordings, split="all"), tmp_path, workers=1, source="folder")["all"]
    dataset = Dataset(tmp_path / "all")
    dataset.verify()
    assert (summary.utterances, summary.skipped, summary.already_prepared) == (len(dataset), 8, False) == (32, 8, False)
    assert summary.hours == dataset.hours == pytest.approx(32 * 0.3 / 3600)
    np.testing.assert_array_equal(dataset[0].input, noise(0, 0.3, 16000))
    assert (dataset[-1].id, dataset[-1].text) == ("r39", "number 39")
    assert json.loads((tmp_path / "all" / "dataset.json").read_text())["source"] == "folder"
    header, *lines = (tmp_path / "all" / "skipped.tsv").read_text().splitlines()
    reasons = dict(line.split("\t") for line in lines)
    assert header == "id\treason"
    for name, reason in {
        "r05": "empty (0 bytes)",
        "r06": "not audio",
        "r07": "truncated",
        "r08": "only 0.050 s long",
        "r09": "no samples",
        "r10": "the text is empty",
        "r11": "no r11.txt beside it",
        "r12": "no audio beside it",
    }.items():
        assert reason in reasons.pop(name)
    assert not reasons
    assert [path.name for path in tmp_path.iterdir()] == ["all"]


def test_the_number_of_workers_changes_no_byte(tmp_path, recordings, undisturbed):
    prepare(folder.splits(recordings, split="all"), tmp_path, workers=2, shard_bytes=SHARD_BYTES)
    assert len([path for path in undisturbed if path.suffix == ".arrow"]) > 3
    assert contents(tmp_path) == undisturbed


KILLED = """
import os, signal, sys
from pathlib import Path
import rnnt.prepare, rnnt.readers, rnnt.shard
from rnnt.corpora import folder

def kill_at(holder, name, call, after=False):
    original, calls = getattr(holder, name), 0
    def killing(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call and not after:
            die()
        result = original(*args, **kwargs)
        if calls == call:
            die()
        return result
    setattr(holder, name, killing)

def die():
    import multiprocessing
    print(*[process.pid for process in pool], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

pool = []
if __name__ == "__main__":
    source, out, workers, moment = sys.argv[1:]
    started = rnnt.readers.Readers._started
    def remember(self):
        executor = started(self)
        pool[:] = (executor._processes or {}).values()
        return executor
    rnnt.readers.Readers._started = remember
    {
        "adding": lambda: kill_at(rnnt.shard.ShardWriter, "add", 17),
        "first shard named": lambda: kill_at(rnnt.shard.ShardWriter, "close", 1, after=True),
        "third shard named": lambda: kill_at(rnnt.shard.ShardWriter, "close", 3, after=True),
        "third shard noted": lambda: kill_at(rnnt.prepare, "write_json", 3, after=True),
        "describing": lambda: kill_at(rnnt.prepare, "write_description", 1),
        "described": lambda: kill_at(rnnt.prepare, "write_description", 1, after=True),
        "renamed": lambda: kill_at(os, "rename", 1, after=True),
    }[moment]()
    rnnt.prepare.prepare(
        folder.splits(Path(source), split="all"), Path(out), workers=int(workers), shard_bytes=60_000
    )
"""


def killed_prepare(tmp_path, recordings, workers, moment):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    out = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, script, recordings, out, str(workers), moment],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == -9, run.stderr
    return out, [int(word) for word in run.stdout.split()]


@pytest.mark.parametrize(
    ("moment", "shards"),
    [("adding", 2), ("first shard named", 0), ("third shard named", 2), ("describing", 5), ("described", 5)],
)
def test_a_killed_preparation_continues_to_the_same_bytes(tmp_path, recordings, undisturbed, moment, shards):
    out, _ = killed_prepare(tmp_path, recordings, 1, moment)
    assert [path.name for path in out.iterdir()] == [".all.partial"]  # no split that opens and lacks data
    progress = out / ".all.partial" / "progress.json"
    kept = [shard["name"] for shard in json.loads(progress.read_text())["shards"]] if progress.exists() else []
    assert len(kept) == shards
    inodes = {name: (out / ".all.partial" / name).stat().st_ino for name in kept}
    prepare(folder.splits(recordings, split="all"), out, workers=1, shard_bytes=SHARD_BYTES)
    assert contents(out) == undisturbed
    assert inodes == {name: (out / "all" / name).stat().st_ino for name in kept}  # not written a second time


def test_killed_after_the_renaming(tmp_path, recordings, undisturbed):
    out, _ = killed_prepare(tmp_path, recordings, 1, "renamed")
    assert prepare(folder.splits(recordings, split="all"), out, workers=1, shard_bytes=SHARD_BYTES)[
        "all"
    ].already_prepared
    assert contents(out) == undisturbed


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open, of Linux")
def test_workers_leave_with_a_killed_parent(tmp_path, recordings, undisturbed):
    out, workers = killed_prepare(tmp_path, recordings, 2, "third shard noted")
    assert workers
    for worker in workers:
        try:
            descriptor = os.pidfd_open(worker)
        except ProcessLookupError:
            continue
        assert select.select([descriptor], [], [], 20)[0], f"worker {worker} still runs"
        os.close(descriptor)
    prepare(folder.splits(recordings, split="all"), out, workers=2, shard_bytes=SHARD_BYTES)
    assert contents(out) == undisturbed


def test_a_full_disk_keeps_the_whole_shards(tmp_path, recordings, undisturbed, monkeypatch):
    written = 0
    write = rnnt.shard._HashingFile.write

    def full(self, data):
        nonlocal written
        written += len(data)
        if written > 2.5 * SHARD_BYTES:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(rnnt.shard._HashingFile, "write", full)
    with pytest.raises(OSError, match=r"the disk of .* is full; make room .* shard of 'all' \(2 so far\)"):
        prepare(folder.splits(recordings, split="all"), tmp_path, workers=1, shard_bytes=SHARD_BYTES)
    assert sorted(path.name for path in (tmp_path / ".all.partial").iterdir()) == [
        "lock",
        "progress.json",
        "shard-00000.arrow",
        "shard-00001.arrow",
        "skipped.tsv",
    ]
    monkeypatch.undo()
    prepare(folder.splits(recordings, split="all"), tmp_path, workers=1, shard_bytes=SHARD_BYTES)
    assert contents(tmp_path) == undisturbed


def test_a_killed_worker_is_reported_and_the_work_continues(tmp_path):
    broken = utterances(60, u50=os._exit)  # leaves its process without a word
    with pytest.raises(OSError, match="a process that decodes audio was killed"):
        prepare({"train": Split(broken)}, tmp_path, workers=2, shard_bytes=SHARD_BYTES)
    assert not (tmp_path / "train").exists()
    assert (tmp_path / ".train.partial" / "progress.json").exists()
    prepare({"train": Split(utterances(60))}, tmp_path, workers=1, shard_bytes=SHARD_BYTES)
    assert len(Dataset(tmp_path / "train")) == 60


def test_a_finished_split_is_left_alone(tmp_path):
    first = prepare({"train": Split(utterances(3))}, tmp_path, workers=1)["train"]
    before = contents(tmp_path)
    again = prepare({"train": Split(utterances(3, u0=partial(refuse, "never read")))}, tmp_path, workers=1)["train"]
    assert (again.utterances, again.hours, again.skipped) == (first.utterances, first.hours, first.skipped)
    assert again.already_prepared and not first.already_prepared
    assert contents(tmp_path) == before
    for other, rate in ((utterances(4), 16000), (utterances(3), 8000)):
        with pytest.raises(ValueError, match=r"remove it or choose another --out"):
            prepare({"train": Split(other)}, tmp_path, rate, workers=1)
    assert contents(tmp_path) == before


def test_the_rest_of_another_preparation_is_thrown_away(tmp_path):
    interrupted = utterances(30, u3=partial(refuse, "bad"), u25=interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare({"all": Split(interrupted)}, tmp_path, workers=1, shard_bytes=SHARD_BYTES)
    assert len(list((tmp_path / ".all.partial").glob("shard-*.arrow"))) > 1
    assert not list((tmp_path / ".all.partial").glob("*.tmp"))
    summary = prepare({"all": Split(utterances(5))}, tmp_path, workers=1)["all"]
    assert (summary.utterances, summary.skipped) == (5, 0)
    assert [recording.id for recording in Dataset(tmp_path / "all")] == ["u0", "u1", "u2", "u3", "u4"]


def test_two_preparations_at_once(tmp_path):
    partial_folder = tmp_path / ".train.partial"
    partial_folder.mkdir()
    with (
        locked(partial_folder / "lock", "in use"),
        pytest.raises(ValueError, match="another process is preparing this split"),
    ):
        prepare({"train": Split(utterances(3))}, tmp_path, workers=1)


def test_a_split_without_any_use(tmp_path):
    bad = utterances(5, **{f"u{n}": partial(refuse, f"disk {n}\nfailed") for n in range(5)})
    with pytest.raises(
        ValueError, match=r"no utterance of split 'train' is usable: u0: disk 0 failed; u1: disk 1 failed; u2: disk 2"
    ):
        prepare({"train": Split(bad)}, tmp_path, workers=1)
    with pytest.raises(ValueError, match="split 'train' has no utterances; x: no text"):
        prepare({"train": Split([], [("x", "no text")])}, tmp_path, workers=1)
    assert not list(tmp_path.iterdir())


def test_names_rates_and_what_is_in_the_way(tmp_path):
    for name in ("", "a/b", ".hidden", ".."):
        with pytest.raises(ValueError, match="cannot be the name of a split"):
            prepare({name: Split(utterances(1))}, tmp_path, workers=1)
    for mistake in ({"sample_rate": 0}, {"workers": 0}, {"shard_bytes": 0}):
        with pytest.raises(ValueError, match="at least"):
            prepare({"train": Split(utterances(1))}, tmp_path, **mistake)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match=r"train exists and is not a dataset"):
        prepare({"train": Split(utterances(1))}, tmp_path, workers=1)
    assert (tmp_path / "train" / "mine.txt").read_text() == "keep me"


def test_texts_are_kept_on_one_line(tmp_path):
    odd = Utterance("a", " several\n lines\tand tabs ", "", partial(noise, 0, 0.2))
    prepare({"train": Split([odd])}, tmp_path, workers=1)
    assert Dataset(tmp_path / "train").text(0) == "several lines and tabs"


def test_names_that_are_not_unicode_are_listed(tmp_path):
    split = Split(
        [*utterances(2), Utterance("gr\udcfcn", "text", "", partial(noise, 0, 0.2))], [("\udcff", "no \udcff.txt")]
    )
    assert prepare({"train": split}, tmp_path, workers=1)["train"].skipped == 2
    assert prepare({"train": split}, tmp_path, workers=1)["train"].already_prepared
    _, first, second = (tmp_path / "train" / "skipped.tsv").read_text("utf-8").splitlines()
    assert first == "\\udcff\tno \\udcff.txt" and second.startswith("gr\\udcfcn\tits id, text or speaker is not valid")


def test_names_that_a_spreadsheet_would_compute_are_listed_as_text(tmp_path):
    split = Split(utterances(1), [("=1+1", "@SUM(1)"), ("\x1b[31m", "no text")])
    prepare({"train": split}, tmp_path, workers=1)
    lines = (tmp_path / "train" / "skipped.tsv").read_text("utf-8").splitlines()
    assert lines == ["id\treason", "'=1+1\t'@SUM(1)", "\\x1b[31m\tno text"]


def test_a_partial_folder_that_lost_a_shard_starts_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare({"all": Split(utterances(30, u25=interrupt))}, tmp_path, workers=1, shard_bytes=SHARD_BYTES)
    (tmp_path / ".all.partial" / "shard-00000.arrow").unlink()
    prepare({"all": Split(utterances(30))}, tmp_path, workers=1, shard_bytes=SHARD_BYTES)
    assert len(list(Dataset(tmp_path / "all").texts())) == 30
