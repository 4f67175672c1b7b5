import errno
import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import soundfile

import rnnt.files
import rnnt.prepare
import rnnt.shard
from rnnt.corpora import Split, Utterance, folder
from rnnt.dataset import Dataset
from rnnt.files import locked
from rnnt.prepare import prepare
from rnnt.readers import Readers

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
    write = rnnt.files.HashingFile.write

    def full(self, data):
        nonlocal written
        written += len(data)
        if written > 2.5 * SHARD_BYTES:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(rnnt.files.HashingFile, "write", full)
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


def test_a_finished_split_is_left_alone(tmp_path, monkeypatch):
    first = prepare({"train": Split(utterances(3))}, tmp_path, workers=1)["train"]
    before = contents(tmp_path)
    monkeypatch.setattr(Readers, "read", None)  # no audio is decoded
    again = prepare({"train": Split(utterances(3))}, tmp_path, workers=1)["train"]
    assert (again.utterances, again.hours, again.skipped) == (first.utterances, first.hours, first.skipped)
    assert again.already_prepared and not first.already_prepared
    assert contents(tmp_path) == before
    for other, rate in ((utterances(4), 16000), (utterances(3), 8000)):
        mend = f"choose another --out, or remove {tmp_path}/train and run `rnnt prepare .* --out {tmp_path}` again"
        with pytest.raises(ValueError, match=mend):
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


def test_a_split_of_an_earlier_version_is_accepted_with_a_word(tmp_path, recordings, capsys):
    """That version noted neither files nor how they are read. Its fingerprint is written out here."""
    split = folder.splits(recordings, split="all")
    prepare(split, tmp_path, workers=1, source="folder X")
    path = tmp_path / "all" / "dataset.json"
    description = json.loads(path.read_text())
    for name in ("dates", "contents"):
        del description[name]
    sha256 = hashlib.sha256(f"1 16000 {256 << 20}\n".encode())
    for utterance in split["all"].utterances:
        sha256.update(json.dumps([utterance.id, utterance.text, utterance.speaker]).encode())
    for problem in split["all"].problems:
        sha256.update(json.dumps(problem).encode())
    path.write_text(json.dumps(description | {"fingerprint": sha256.hexdigest()}))
    assert len(Dataset(tmp_path / "all")) == 32
    capsys.readouterr()
    assert prepare(split, tmp_path, workers=1, source="folder X")["all"].already_prepared
    noted = capsys.readouterr().err
    assert "an earlier version prepared it" in noted
    assert f"remove {tmp_path}/all and run `rnnt prepare folder X --out {tmp_path}` again" in noted
    for fingerprint in ("", "0" * 64):
        path.write_text(json.dumps(description | {"fingerprint": fingerprint}))
        with pytest.raises(ValueError, match=r"holds other utterances.*run `rnnt prepare folder X --out"):
            prepare(split, tmp_path, workers=1, source="folder X")


@pytest.fixture
def listed(tmp_path):
    """A list of segments of two recordings, in a corpus of its own."""
    source = tmp_path / "corpus"
    source.mkdir()
    for name in ("a", "b"):
        soundfile.write(source / f"{name}.wav", noise(ord(name), 20, 16000), 16000)
        os.utime(source / f"{name}.wav", (1, 1))  # two files of one size and one date
    lines = [
        {"audio": f"{name}.wav", "id": f"{name}{n}", "text": "t", "offset": 2.0 * n, "duration": 1.0, "speaker": "s"}
        for name in ("a", "b")
        for n in range(9)
    ]
    (source / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return source


def prepare_list(source, out, shard_bytes=SHARD_BYTES):
    return prepare(folder.splits(source / "list.jsonl", split="all"), out, workers=1, shard_bytes=shard_bytes)["all"]


@pytest.mark.parametrize(
    "changes",
    [{"offset": 2.5}, {"duration": 1.5}, {"audio": "a.wav"}, {"text": "u"}, {"id": "new"}, {"speaker": "other"}],
)
def test_a_change_of_the_list_is_noticed(tmp_path, listed, changes):
    prepare_list(listed, tmp_path / "out")
    assert prepare_list(listed, tmp_path / "out").already_prepared
    lines = (listed / "list.jsonl").read_text().splitlines()
    lines[-1] = json.dumps(json.loads(lines[-1]) | changes)
    (listed / "list.jsonl").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="holds other utterances, other audio"):
        prepare_list(listed, tmp_path / "out")


def test_a_file_that_changes_is_noticed(tmp_path, listed):
    out = tmp_path / "out"
    prepare_list(listed, out)
    path = listed / "b.wav"
    whole, status = path.read_bytes(), path.stat()
    for changed in (whole[:-2], whole + b"\0\0", whole[:300_001] + b"\x7f" + whole[300_002:], None):
        if changed is None:
            path.unlink()
        else:
            path.write_bytes(changed)
        with pytest.raises(ValueError, match="holds other utterances, other audio"):
            prepare_list(listed, out)
    path.write_bytes(whole)
    before = json.loads((out / "all" / "dataset.json").read_text())
    assert prepare_list(listed, out).already_prepared  # of another date
    after = json.loads((out / "all" / "dataset.json").read_text())
    assert before.pop("dates") != after.pop("dates") and before == after
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert prepare_list(listed, out).already_prepared


def test_a_bad_file_that_was_replaced_is_noticed(tmp_path, listed):
    good = (listed / "b.wav").read_bytes()
    for number, bad in enumerate((b"", bytes(len(good)), None)):
        (listed / "b.wav").unlink() if bad is None else (listed / "b.wav").write_bytes(bad)
        out = tmp_path / f"out{number}"
        assert prepare_list(listed, out).skipped == 9
        assert prepare_list(listed, out).already_prepared
        (listed / "b.wav").write_bytes(good)
        with pytest.raises(ValueError, match="holds other utterances, other audio"):
            prepare_list(listed, out)


def test_a_copied_corpus_is_not_prepared_again(tmp_path, listed, monkeypatch, capsys):
    out = tmp_path / "out"
    prepare_list(listed, out)
    copied = tmp_path / "elsewhere" / "copy"
    shutil.copytree(listed, copied, copy_function=shutil.copyfile)  # with the dates of today
    monkeypatch.setattr(Readers, "read", None)
    capsys.readouterr()
    assert prepare_list(copied, out).already_prepared
    assert "comparing files" in capsys.readouterr().err
    monkeypatch.setattr(rnnt.prepare, "add_contents", None)
    assert prepare_list(copied, out).already_prepared  # the new dates were noted


def test_files_that_change_after_a_kill_are_read_again(tmp_path, listed, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(rnnt.prepare, "write_description", die)
        with pytest.raises(Killed):
            prepare_list(listed, tmp_path / "out")
    samples = noise(5, 20, 16000)
    soundfile.write(listed / "a.wav", samples, 16000)
    prepare_list(listed, tmp_path / "out")
    np.testing.assert_array_equal(Dataset(tmp_path / "out" / "all")[0].input, samples[:16000])


@pytest.mark.parametrize(
    "content", [b"", b"[", b"[" * 10**5, b"null", b'{"shards": 1}', b'{"shards": [], "origin": {}}', b"\xff"]
)
def test_a_damaged_progress_starts_again(tmp_path, content):
    with pytest.raises(KeyboardInterrupt):
        prepare({"all": Split(utterances(30, u25=interrupt))}, tmp_path, workers=1, shard_bytes=SHARD_BYTES)
    (tmp_path / ".all.partial" / "progress.json").write_bytes(content)
    assert prepare({"all": Split(utterances(30))}, tmp_path, workers=1, shard_bytes=SHARD_BYTES)["all"].utterances == 30


@pytest.mark.parametrize("code", [errno.EIO, errno.EFBIG, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", range(1, 30, 3))
def test_any_failure_of_the_disk_is_named_and_leaves_no_split(tmp_path, monkeypatch, code, call):
    """Each flush to the disk fails in turn: of shards, progress, lengths, description, folders."""
    count = 0
    fsync = os.fsync

    def failing(descriptor):
        nonlocal count
        count += 1
        if count == call:
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    data = {"train": Split(utterances(30))}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        try:
            prepare(data, tmp_path / "out", workers=1, shard_bytes=SHARD_BYTES)
            assert count < call
        except OSError as error:
            assert error.errno == code
            assert str(tmp_path / "out") in f"{error.filename} {error.strerror}"
    final = tmp_path / "out" / "train"
    if final.exists():
        assert len(list(Dataset(final))) == 30
    assert not prepare(data, tmp_path / "out", workers=1, shard_bytes=SHARD_BYTES)["train"].skipped
    Dataset(final).verify()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train"]


FILL = """
import sys
from functools import partial
from pathlib import Path
import numpy as np
from rnnt.corpora import Split, Utterance
from rnnt.dataset import write_split
from rnnt.prepare import prepare
from rnnt.shard import StoredUtterance

def noise(sample_rate):
    return np.random.default_rng(0).integers(-3000, 3000, sample_rate).astype(np.int16)

if __name__ == "__main__":
    out = Path(sys.argv[1])
    split = Split([Utterance(f"u{n}", "text", "", noise) for n in range(40)])
    for run in (
        lambda: prepare({"train": split}, out, workers=1, shard_bytes=150_000),
        lambda: write_split(out / "other", [StoredUtterance("u", noise(16000), "text")] * 40),
    ):
        try:
            run()
        except OSError as error:
            print(error.strerror if error.filename is None else error.filename)
        print(*sorted(path.name for path in out.iterdir()))
"""


@pytest.mark.parametrize("size", ["8k", "200k", "700k", "1M"])
def test_a_disk_that_is_full(tmp_path, size):
    (tmp_path / "fill.py").write_text(FILL)
    (tmp_path / "disk").mkdir()
    mounted = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size={size} none "$1" && shift && "$@"', "sh"]
    try:
        able = subprocess.run([*mounted, tmp_path / "disk", "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        able = False
    if not able:
        pytest.skip("needs Linux with namespaces of users")
    command = [*mounted, tmp_path / "disk", sys.executable, tmp_path / "fill.py", tmp_path / "disk"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    message, left, path, still = run.stdout.splitlines()
    assert f"the disk of {tmp_path}/disk is full; make room and run the same command again" in message
    assert path.startswith(f"{tmp_path}/disk/.other.tmp") and left == still == ".train.partial"
