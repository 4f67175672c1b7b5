"""The layout of Arrow files: the same as pyarrow's; and an exception, never a place outside, if a file is damaged."""

import random

import numpy as np
import pyarrow as pa
import pytest

from rnnt.arrow import read_layout


def file_of(batches):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def layout_of(content):
    def read(place, size):
        assert place >= 0 and size >= 0 and place + size <= len(content)
        return content[place : place + size]

    return read_layout(read, len(content))


def random_batches(rng, count):
    """Batches of one schema, of 0 to 40 rows: texts, numbers, lists of both, with and without nulls."""

    def text(nulls):
        return None if nulls and rng.random() < 0.2 else "aß€" * int(rng.integers(4))

    batches = []
    for _ in range(count):
        rows = int(rng.integers(41))
        columns = {
            "id": pa.array([text(False) for _ in range(rows)], pa.string()),
            "a ßname": pa.array([text(True) for _ in range(rows)], pa.large_string()),
            "number": pa.array(rng.integers(-9, 9, rows), pa.int32()),
            "empty": pa.array([None] * rows, pa.int64()),
            "audio": pa.array([[1] * int(rng.integers(99)) for _ in range(rows)], pa.large_list(pa.int16())),
            "symbols": pa.array([[text(True)] * int(rng.integers(5)) for _ in range(rows)], pa.list_(pa.string())),
        }
        batches.append(pa.RecordBatch.from_pydict(columns))
    return batches


@pytest.mark.parametrize("seed", range(8))
def test_names_rows_and_buffers_are_those_of_pyarrow(seed):
    rng = np.random.default_rng(seed)
    batches = random_batches(rng, int(rng.integers(1, 12)))
    content = pa.py_buffer(file_of(batches))
    oracle = pa.ipc.open_file(content)
    names, found = layout_of(content.to_pybytes())
    assert names == oracle.schema.names
    assert [batch.rows for batch in found] == [len(batch) for batch in batches]
    for number, batch in enumerate(found):
        buffers = [buffer for column in oracle.get_batch(number).columns for buffer in column.buffers()]
        assert len(batch.buffers) == len(buffers)
        for (place, size), buffer in zip(batch.buffers, buffers):
            if buffer is None:  # no nulls
                assert size == 0
            elif buffer.size:  # an empty one may have any address
                assert (content.address + place, size) == (buffer.address, buffer.size)


def test_a_file_without_batches_has_names_only():
    sink = pa.BufferOutputStream()
    pa.ipc.new_file(sink, pa.schema({"a": pa.int8(), "b": pa.string()})).close()
    assert layout_of(sink.getvalue().to_pybytes()) == (["a", "b"], [])


def test_compressed_buffers_are_refused():
    batch = random_batches(np.random.default_rng(0), 1)[0]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    with pytest.raises(ValueError, match="compressed"):
        layout_of(sink.getvalue().to_pybytes())


def refused(content):
    """Whether a file is refused; its buffers must be within it if not."""
    try:
        _, batches = layout_of(content)
    except ValueError:
        return True
    for batch in batches:
        assert all(place >= 0 and size >= 0 and place + size <= len(content) for place, size in batch.buffers)
    return False


SMALL = file_of([pa.RecordBatch.from_pydict({"id": ["a", "b"], "x": [[1, 2], [3]]})] * 2)


def test_every_truncation_is_refused():
    assert not refused(SMALL)
    assert all(refused(SMALL[:end]) for end in range(len(SMALL)))
    assert sum(refused(SMALL[start:]) for start in range(1, len(SMALL))) > len(SMALL) / 2


def test_any_flipped_bit_is_refused_or_stays_within_the_file():
    damaged = bytearray(SMALL)
    count = 0
    for bit in range(8 * len(SMALL)):
        damaged[bit // 8] ^= 1 << bit % 8
        count += refused(bytes(damaged))
        damaged[bit // 8] ^= 1 << bit % 8
    assert bytes(damaged) == SMALL and count > 500


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_extreme_numbers_anywhere_are_refused_or_stay_within_the_file(size):
    """Offsets, sizes and counts of flatbuffers are numbers of these sizes."""
    count = 0
    for place in range(len(SMALL) - size + 1):
        for number in (0, 1, 2 ** (8 * size - 1), 2 ** (8 * size - 1) - 1, 2 ** (8 * size) - 1, len(SMALL) % 256):
            count += refused(SMALL[:place] + number.to_bytes(size, "little") + SMALL[place + size :])
    assert count > 300


def test_random_damage_is_refused_or_stays_within_the_file():
    content = file_of(random_batches(np.random.default_rng(1), 5))
    footer = len(content) - 1200
    count = 0
    for case in range(2000):
        draw = random.Random(case)
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 3, 30, 300])):
            damaged[draw.randrange(draw.choice([0, footer]), len(damaged))] = draw.choice([0, 255, draw.randrange(256)])
        if draw.random() < 0.2:
            start = draw.randrange(len(damaged))
            del damaged[start : start + draw.choice([1, 8, 500])]
        count += refused(bytes(damaged))
    assert 500 < count < 2000
