"""Folders and lists -> a table on the disk -> portions. Nothing here starts Ray."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnnt.cluster import inputs
from rnnt.cluster.inputs import Recording, find_recordings, portions, write_table


@pytest.fixture
def archive(tmp_path):
    for name in ("a.wav", "b.wav", "sub/c.flac"):
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "archive"


def found(*items):
    return [(recording.path, recording.text) for recording in find_recordings(list(map(str, items)))]


def test_folders_and_files(archive):
    paths = [str(archive / name) for name in ("a.wav", "b.wav", "sub/c.flac")]
    assert found(archive) == [(path, None) for path in paths]
    assert found(archive / "sub", archive / "a.wav") == [(paths[2], None), (paths[0], None)]
    with pytest.raises(ValueError, match=r"none\.wav: no such file; give audio files, folders or lists"):
        found(archive / "none.wav")


def test_lists_of_each_kind_name_the_same_recordings(archive):
    c = str(archive / "sub" / "c.flac")
    expected = [(str(archive / "a.wav"), "one"), (c, "two three")]
    rows = [{"audio_filepath": "a.wav", "text": "one", "duration": 2.5}, {"audio_filepath": c, "text": "two three"}]
    (archive / "nemo.jsonl").write_text("\ufeff" + "".join(json.dumps(row) + "\n\n" for row in rows))
    (archive / "plain.json").write_text(json.dumps({"path": "a.wav", "text": "one", "offset": 0}) + "\n")
    (archive / "named.tsv").write_text(f"text\tpath\none\ta.wav\ntwo three\t{c}\n")
    (archive / "bare.tsv").write_text(f"a.wav\tone\n{c}\ttwo three")
    pq.write_table(
        pa.table({"path": ["a.wav", c], "n": [1, 2], "text": ["one", "two three"]}), archive / "list.parquet"
    )
    for name in ("nemo.jsonl", "named.tsv", "bare.tsv", "list.parquet"):
        assert found(archive / name) == expected, name
    assert found(archive / "plain.json") == expected[:1]
    (archive / "paths.tsv").write_text("a.wav\nb.wav\n")
    assert found(archive / "paths.tsv") == [(str(archive / "a.wav"), None), (str(archive / "b.wav"), None)]


def test_a_list_of_uris_is_relative_to_its_folder():
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe("/inputs/a.wav", b"12")
    memory.pipe("/inputs/list.jsonl", b'{"path": "a.wav"}\n')
    assert found("memory://inputs/list.jsonl") == [("memory://inputs/a.wav", None)]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (
            "l.jsonl",
            '{"path": "no.wav"}\n{"path": "a.wav"}\n{"path": "nor.wav"}',
            r"line 1: .*no\.wav: no such file \(2 of",
        ),
        ("l.jsonl", '{"path": "a.wav"}\n[1]', r"line 2: names no recording; it needs audio_filepath or path"),
        ("l.jsonl", "a.wav", r"line 1: is not JSON .*; write a JSON object in each line"),
        ("l.jsonl", '{"path": "a.wav", "offset": 2}', r"line 1: names a part of a recording \(offset\)"),
        ("l.jsonl", '{"path": "a.wav", "text": 3}', r"line 1: 'text' must be a text, not 3"),
        ("l.tsv", "path\ttext\na.wav", r"line 2: has 1 columns instead of 2"),
        ("l.tsv", b"\xff\xfea", r"line 1: is not UTF-8 text \(byte 0\)"),
        ("l.parquet", "PAR1", r"l\.parquet: is no Parquet file"),
    ],
    ids=["missing", "no-path", "no-json", "offset", "text", "columns", "utf-8", "parquet"],
)
def test_lists_that_make_no_sense_get_one_line(archive, name, content, complaint):
    (archive / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=complaint) as caught:
        found(archive / name)
    assert "\n" not in str(caught.value)


def test_a_table_comes_back_from_the_disk(tmp_path):
    odd = os.fsdecode(b"/a/\xff.wav")
    rows = [Recording("/a/b.wav", 3, 4, "grün"), Recording(odd, 5, 6)]
    table = write_table(iter(rows), tmp_path / "inputs.parquet")
    assert (table.count, table.bytes) == (2, 8) and list(table.recordings()) == rows
    assert write_table(rows, tmp_path / "again.parquet").digest == table.digest
    for other in (rows[::-1], [rows[0], Recording(odd, 5, 7)], [rows[0], Recording(odd, 5, 6, "text")]):
        assert write_table(other, tmp_path / "other.parquet").digest != table.digest


def test_a_recording_that_is_named_twice(tmp_path, archive):
    rows = [Recording(f"/{i}.wav", 1, 1) for i in (1, 2, 3, 2, 3)]
    with pytest.raises(ValueError, match=r"^/2\.wav is named twice \(and 1 more\); name each recording once$"):
        write_table(rows, tmp_path / "inputs.parquet")
    assert not (tmp_path / "inputs.parquet").exists()
    with pytest.raises(ValueError, match="there are no recordings"):
        write_table([], tmp_path / "inputs.parquet")


def test_portions_are_consecutive_and_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_ROWS", 7)
    rows = [Recording(f"/{i}.wav", 40 << 20 if i in (5, 100) else 1000, i) for i in range(300)]
    table = write_table(rows, tmp_path / "inputs.parquet")
    found = list(portions(table))
    assert [recording for portion in found for recording in portion.recordings] == rows
    assert [portion.number for portion in found] == list(range(len(found)))
    assert [len(portion.recordings) for portion in found] == [6, 64, 31, 64, 64, 64, 7]  # long ones end a portion
    assert sum(portion.bytes for portion in found) == table.bytes and list(portions(table)) == found


def test_large_jobs_have_larger_portions(tmp_path):
    table = write_table([Recording(f"/{i}.wav", 10, i) for i in range(5000)], tmp_path / "inputs.parquet")
    many = inputs.Table(table.path, 20_000 * 1000, table.bytes, table.digest)
    assert [len(portion.recordings) for portion in portions(many)] == [1000] * 5
