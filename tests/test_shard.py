"""A shard: written whole or not at all, read back as it was, and named if it is damaged."""

import hashlib

import numpy as np
import pytest

from rnnt.shard import ShardReader, ShardWriter, StoredUtterance


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
    batch = ShardReader(str(path)).batch(0)
    assert batch.column("id").to_pylist() == ["u0", "u1", "u2"]
    assert batch.column("num_samples").to_pylist() == [3, 1, 500]
    assert batch.column("audio").to_pylist() == [x.tolist() for x in inputs]


def test_symbols_are_read_back(tmp_path):
    path = tmp_path / "shard-00000.arrow"
    write(path, [["a", "ß"], []], "symbols")
    batch = ShardReader(str(path)).batch(0)
    assert batch.column("symbols").to_pylist() == [["a", "ß"], []]
    assert batch.column("num_symbols").to_pylist() == [2, 0]


def test_an_abandoned_shard_leaves_nothing(tmp_path):
    writer = ShardWriter(tmp_path / "shard-00000.arrow")
    writer.add(StoredUtterance("u", np.ones(4, np.int16), "text"))
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000.arrow.tmp"]
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_shard_is_named(tmp_path):
    path = tmp_path / "shard-00000.arrow"
    path.write_bytes(b"no Arrow file at all")
    with pytest.raises(ValueError, match=r"shard-00000\.arrow: is damaged"):
        ShardReader(str(path))
