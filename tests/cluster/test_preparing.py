"""Preparation on a cluster: the same files as those of the plain command, to the bit, whatever dies."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rnnt.corpora import Split, Utterance
from rnnt.corpora.folder import splits
from rnnt.prepare import prepare

SMALL = 100_000  # bytes of a shard


@dataclass(frozen=True)
class DiesOnce:
    """Reads an utterance, but ends the first process that tries."""

    read: object
    mark: Path

    def __call__(self, sample_rate):
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.read(sample_rate)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def plain(recordings, tmp_path_factory):
    """The splits, and the files that the plain command makes of them."""
    found, out = splits(recordings, valid=0.2), tmp_path_factory.mktemp("plain")
    prepare(found, out, workers=1, source="folder here", shard_bytes=SMALL)
    assert len(list(out.glob("train/shard-*.arrow"))) > 3 and "silent" in (out / "train" / "skipped.tsv").read_text()
    return found, contents(out)


@pytest.fixture
def prepared_on_ray(with_ray):
    def run(found, out):
        from rnnt.cluster.preparing import ClusterReaders

        with with_ray(sys.modules[__name__]):
            prepare(found, out, source="folder here", shard_bytes=SMALL, readers=ClusterReaders(16000))

    return run


def test_the_files_are_those_of_the_plain_command(plain, prepared_on_ray, tmp_path, monkeypatch):
    found, expected = plain

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rnnt.prepare.write_description", stop)
        with pytest.raises(KeyboardInterrupt):
            prepared_on_ray(found, tmp_path)
    shards = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob(".train.partial/shard-*")}
    prepared_on_ray(found, tmp_path)
    assert contents(tmp_path) == expected
    kept = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("train/shard-*")}
    assert len(shards) > 3 and kept == shards


def test_a_worker_that_dies_changes_nothing(plain, prepared_on_ray, tmp_path):
    found, expected = plain
    first, *others = found["train"].utterances
    dying = Utterance(first.id, first.text, first.speaker, DiesOnce(first.read, tmp_path / "mark"), first.times)
    prepared_on_ray({"train": Split([dying, *others], found["train"].problems)}, tmp_path / "out")
    assert (tmp_path / "mark").exists()
    for name, content in contents(tmp_path / "out").items():
        assert name.endswith("dataset.json") or content == expected[name]


def test_the_command_prepares_on_a_cluster(call, recordings, prepared, address, tmp_path, capsys):
    assert call("prepare", "folder", recordings, "--out", tmp_path, "valid=0.2", "--cluster", address) == 0
    assert contents(tmp_path) == contents(prepared)
    assert call("prepare", "folder", recordings, "--out", tmp_path, "--cluster", address, "--workers", "2") == 2
    assert "--workers is for one machine" in capsys.readouterr().err
