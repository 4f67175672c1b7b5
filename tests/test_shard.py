"""A shard: written whole or not at all, read back as it was, and named if it is damaged."""

import errno
import hashlib
import os

import numpy as np
import pyarrow as pa
import pytest

from rnnt.shard import ShardReader, ShardWriter, StoredUtterance
from rnnt.silence import speech_bounds


def write(path, inputs, kind="audio"):
    writer = ShardWriter(path, kind)
    for i, given in enumerate(inputs):
        writer.add(StoredUtterance(f"u{i}", given, f"text {i}", "s"))
    return writer.close()


def test_audio_is_read_back_and_described(tmp_path):
    path = tmp_path / "shard-00000.arrow"
    inputs = [np.arange(n, dtype=np.int16) for n in (3, 1, 500)]
    shard = write(path, inputs)
    assert (shard.name, shard.bytes, sum(shard.batches)) == (path.name, path.stat().st_size, 3)
    assert shard.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    reader = ShardReader(str(path))
    assert (reader.rows, reader.lengths(0).tolist()) == (shard.batches, [3, 1, 500]) == ([3], [3, 1, 500])
    assert reader.texts("id", 0) == [reader.text("id", 0, i) for i in range(3)] == ["u0", "u1", "u2"]
    assert reader.text("text", 0, 2) == "text 2" and reader.text("speaker", 0, 0) == "s"
    for i, samples in enumerate(inputs):
        read = reader.audio(0, i)
        np.testing.assert_array_equal(read, samples)
        assert read.dtype == np.int16 and not read.flags.writeable
        assert reader.speech(0, i, len(samples)) == speech_bounds(samples)


def test_any_arrow_reader_reads_a_shard(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnt.shard.BATCH_BYTES", 1500)
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-99, 99, n).astype(np.int16) for n in rng.integers(0, 600, 30)]
    symbols = [[str(i), "ß"] * (i % 3) for i in range(300)]
    for name, kind, given in (("a", "audio", inputs), ("b", "symbols", symbols)):
        shard = write(tmp_path / name, given, kind)
        reader = ShardReader(str(tmp_path / name))
        oracle = pa.ipc.open_file(tmp_path / name)
        assert reader.rows == shard.batches and oracle.num_record_batches == len(shard.batches) > (kind == "audio")
        for number in range(oracle.num_record_batches):
            batch = oracle.get_batch(number)
            for column in ("id", "text", "speaker"):
                assert reader.texts(column, number) == batch.column(column).to_pylist()
            read = reader.audio if kind == "audio" else reader.symbols
            assert [list(read(number, i)) for i in range(len(batch))] == batch.column(kind).to_pylist()
            assert reader.lengths(number).tolist() == batch.column(1).to_pylist()


def test_symbols_are_read_back(tmp_path):
    path = tmp_path / "shard-00000.arrow"
    write(path, [["a", "ß"], []], "symbols")
    reader = ShardReader(str(path))
    assert [reader.symbols(0, i) for i in range(2)] == [["a", "ß"], []]
    assert reader.lengths(0).tolist() == [2, 0]
    assert list(reader.words(0)) == [["a", "ß"], []]


@pytest.mark.parametrize("inputs", [[[]], [["ab", "", "각"], [], ["a"]], [[f"{i}"] * (i % 4) for i in range(500)]])
def test_the_words_of_a_batch_are_those_of_its_rows(tmp_path, monkeypatch, inputs):
    monkeypatch.setattr("rnnt.shard.BATCH_BYTES", 5000)
    shard = write(tmp_path / "a", inputs, "symbols")
    reader = ShardReader(str(tmp_path / "a"))
    assert (
        len(shard.batches) == len(reader.rows)
        and [w for b in range(len(reader.rows)) for w in reader.words(b)] == inputs
    )


def test_a_batch_of_symbols_takes_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnt.shard.BATCH_BYTES", 65 * 10)
    assert write(tmp_path / "a", [["a", "b"]] * 12, "symbols").batches == [5, 5, 2]


def test_an_abandoned_shard_leaves_nothing(tmp_path):
    writer = ShardWriter(tmp_path / "shard-00000.arrow")
    writer.add(StoredUtterance("u", np.ones(4, np.int16), "text"))
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000.arrow.tmp"]
    writer.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"short", b"no Arrow file at all", b"ARROW1\0\0" + bytes(99) + b"ARROW1"])
def test_a_damaged_shard_is_named(tmp_path, content):
    path = tmp_path / "shard-00000.arrow"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"shard-00000\.arrow: is damaged"):
        ShardReader(str(path))


def everything(path):
    """All that can be read from a shard."""
    reader = ShardReader(str(path))
    read = []
    for number, rows in enumerate(reader.rows):
        read += [reader.texts(column, number) for column in ("id", "text", "speaker")]
        read.append(reader.lengths(number).tolist())
        read += reader.words(number) if reader.input == "symbols" else []
        for i in range(rows):
            read.append([reader.text(column, number, i) for column in ("id", "text", "speaker")])
            given = reader.audio(number, i) if reader.input == "audio" else reader.symbols(number, i)
            read.append(list(given))
            if reader.has_speech_bounds:
                read.append(reader.speech(number, i, len(given)))
    return read


@pytest.mark.parametrize("kind", ["audio", "symbols"])
def test_no_flipped_bit_ends_the_process(tmp_path, monkeypatch, kind):
    """Flip every bit of a small shard but those of its audio. What is read differs, or a ValueError names the file."""
    monkeypatch.setattr("rnnt.shard.BATCH_BYTES", 30)
    path = tmp_path / "shard-00000.arrow"
    inputs = [np.arange(n, dtype=np.int16) for n in (3, 12, 9)] if kind == "audio" else [["ab", "ß"], [], ["c"]] * 4
    assert len(write(path, inputs, kind).batches) > 1 - (kind == "symbols")
    whole, expected = path.read_bytes(), everything(path)
    named = 0
    for place in range(0, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8 | 128 * (place % 3 == 0)
        path.write_bytes(damaged)
        try:
            everything(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: is damaged (") and "\n" not in str(error)
            named += 1
    assert named > len(whole) / 10
    path.write_bytes(whole)
    assert everything(path) == expected


def test_a_shard_that_is_truncated_or_overwritten_while_it_is_open(tmp_path):
    path = tmp_path / "shard-00000.arrow"
    write(path, [np.arange(50_000, dtype=np.int16)] * 3)
    whole = path.read_bytes()
    reader = ShardReader(str(path))
    for damaged in (whole[:150_000], whole[:5000], b"", b"\xff" * len(whole), bytes(len(whole))):
        path.write_bytes(damaged)  # the same file, which stays open
        try:
            samples = reader.audio(0, 2)
            assert len(damaged) == len(whole) and len(samples) == 0
        except ValueError as error:
            assert str(error).startswith(f"{path}: is damaged (")
    path.write_bytes(whole)
    np.testing.assert_array_equal(reader.audio(0, 2), np.arange(50_000, dtype=np.int16))


def test_a_failing_disk_is_named(tmp_path, monkeypatch):
    path = tmp_path / "shard-00000.arrow"
    write(path, [np.ones(9, np.int16)])
    reader = ShardReader(str(path))

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match=f"{path}") as error:
        reader.audio(0, 0)
    assert error.value.errno == errno.EIO


def test_a_reader_closes_its_file(tmp_path):
    path = tmp_path / "shard-00000.arrow"
    write(path, [np.ones(9, np.int16)])
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    for _ in range(20):
        ShardReader(str(path)).audio(0, 0)
    assert not before or len(os.listdir("/proc/self/fd")) <= len(before)
