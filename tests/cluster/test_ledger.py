"""The output folder: what is finished stays, and another job is refused. Nothing here starts Ray."""

import json

import pyarrow.parquet as pq
import pytest

from rnnt.cluster.inputs import Recording
from rnnt.cluster.ledger import SCHEMA, digest_of, open_ledger

JOB = {"task": "transcribe", "model": "m", "settings": "s"}
RECORDINGS = [Recording(f"/{i}.wav", 10, i) for i in range(100)]


def opened(folder, recordings=RECORDINGS, kind="parquet", **changes):
    return open_ledger(folder, iter(recordings), JOB | changes, kind)


def row(path, **values):
    word = {"word": "grün", "start": 0.1, "end": 0.25, "confidence": 0.5}
    rest = {"words": [word], "transcribed": 1.5, "left_out": 0.5, "truncated": False, "reference": None, "error": None}
    return {**dict.fromkeys(SCHEMA.names, "x"), **rest, "path": path, **values}


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_rows_come_back_in_order_of_their_portions(tmp_path, kind):
    first, second = [row("/a", error="why"), row("/b")], [row("/c", text="a\nb\u2028c")]
    with opened(tmp_path / "out", kind=kind) as ledger:
        assert ledger.done == set()
        ledger.write(1, second)
        ledger.write(0, first)
    with opened(tmp_path / "out", kind=kind) as ledger:
        assert ledger.done == {0, 1} and list(ledger.rows()) == [first, second]
        assert list(ledger.tables[0].recordings()) == RECORDINGS
    if kind == "parquet":
        assert pq.read_schema(tmp_path / "out" / "part-0000000.parquet").equals(SCHEMA)


def test_half_a_shard_is_not_a_finished_one(tmp_path, monkeypatch):
    with opened(tmp_path) as ledger:
        monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            ledger.write(0, [row("/a")])
        monkeypatch.undo()
        assert ledger.done == set()
    (tmp_path / ".part-0000000.parquet.tmp").write_bytes(b"PAR1")
    with opened(tmp_path) as ledger:
        assert ledger.done == set()


def test_a_damaged_shard_is_named(tmp_path):
    with opened(tmp_path) as ledger:
        ledger.write(0, [row("/a")])
        (tmp_path / "part-0000000.parquet").write_bytes(b"PAR1PAR1")
        with pytest.raises(
            ValueError, match=r"part-0000000\.parquet is damaged .*; remove it and run the same command"
        ):
            list(ledger.rows())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": "other"}, "another model"),
        ({"settings": "other"}, "other settings"),
        ({"recordings": RECORDINGS[:-1]}, "other recordings"),
        ({"kind": "json"}, "another format"),
        ({"task": "align"}, "another task"),
    ],
    ids=["model", "settings", "recordings", "format", "task"],
)
def test_the_folder_of_another_job_is_refused_and_left_alone(tmp_path, changes, why):
    with opened(tmp_path) as ledger:
        ledger.write(0, [row("/a")])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with (
        pytest.raises(ValueError, match=f"holds a job with {why}; give --out another folder"),
        opened(tmp_path, **changes),
    ):
        pass
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_new_recordings_become_further_portions(tmp_path):
    new = [Recording(f"/new-{i}.wav", 10, i) for i in range(70)]
    with opened(tmp_path) as ledger:
        first = list(ledger.portions())
        ledger.write(1, [row("/a")])
    listing = [*new[:35], *RECORDINGS[::-1], *new[35:]]
    for _ in range(2):
        with opened(tmp_path, listing) as ledger:
            found = list(ledger.portions())
            assert found[: len(first)] == first and ledger.done == {1} and ledger.bytes == 1700
            assert [portion.number for portion in found] == [0, 1, 2, 3]
            assert [x for portion in found[2:] for x in portion.recordings] == new
    with opened(tmp_path, listing[::-1]) as ledger:
        assert list(ledger.portions()) == found
    changed = [Recording(x.path, x.size, 99) if x.path == "/0.wav" else x for x in listing]
    with pytest.raises(ValueError, match="holds a job with other recordings"), opened(tmp_path, changed):
        pass


def test_folders_that_cannot_be_gone_on_with(tmp_path):
    with opened(tmp_path), pytest.raises(ValueError, match="another process works at this job"), opened(tmp_path):
        pass
    (tmp_path / "job.json").write_text("{")
    with pytest.raises(ValueError, match=r"job\.json is damaged"), opened(tmp_path):
        pass
    (tmp_path / "job.json").unlink()
    (tmp_path / "part-0000000.parquet").touch()
    with pytest.raises(ValueError, match=r"holds shards without a job\.json"), opened(tmp_path):
        pass


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest_of({"a": 1, "b": 2}) == digest_of(json.loads('{"b": 2, "a": 1}')) != digest_of({"a": 1, "b": 3})
