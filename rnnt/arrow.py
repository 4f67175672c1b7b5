"""The places of the columns in an Arrow file, found without mapping the file into memory and without trusting it.

Arrow's own reader believes the file: after some flipped bits in its metadata it ends the process. A mapped file that
another program truncates ends the process as well, with SIGBUS. Here every place is compared with the size of the file,
so that damage is only an exception.

The format: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format, with the tables of Footer in
format/File.fbs and of RecordBatch in format/Message.fbs. Numbers of fields below are those of these tables.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

_MAGIC = b"ARROW1"
_TAIL = struct.Struct("<i6s")  # size of the footer, magic
_BLOCK = struct.Struct("<qi4xq")  # offset, size of the metadata, size of the body
_PAIR = struct.Struct("<qq")
_RECORD_BATCH = 3


@dataclass(frozen=True)
class RecordBatch:
    """Some rows of an Arrow file.

    buffers: place in the file and size in bytes of each buffer of each column, in the order of the schema.
    """

    rows: int
    buffers: tuple[tuple[int, int], ...]


def read_layout(read: Callable[[int, int], bytes], size: int) -> tuple[list[str], list[RecordBatch]]:
    """Return the names of the columns and the record batches of an Arrow file of `size` bytes.

    read: returns the bytes at a place, given the place and their number. Raises ValueError if the file is damaged, or
    has what no shard has (compressed buffers, dictionaries).
    """
    tail = len(_MAGIC) + 2 + _TAIL.size
    if size < tail:
        raise ValueError(f"{size} bytes are no Arrow file")
    length, magic = _TAIL.unpack(read(size - _TAIL.size, _TAIL.size))
    if magic != _MAGIC or not 0 < length <= size - tail:
        raise ValueError("it has no footer")
    try:
        footer = _root(read(size - _TAIL.size - length, length))
        names = [field.text(0) for field in footer.table(1).tables(1)]
        blocks = [_BLOCK.unpack(block) for block in footer.structs(3, _BLOCK.size)]
        return names, [_record_batch(read, size, *block) for block in blocks]
    except (struct.error, IndexError) as error:
        raise ValueError(f"its metadata ends early ({error})") from None


def _record_batch(read: Callable[[int, int], bytes], size: int, place: int, metadata: int, body: int) -> RecordBatch:
    if min(place, metadata, body) < 0 or place + metadata + body > size:
        raise ValueError("a record batch is not within the file")
    message = _root(read(place, metadata)[8:])  # after a marker and the size
    if message.number(1, "<B") != _RECORD_BATCH or message.number(3, "<q") != body:
        raise ValueError("a record batch does not begin at its place")
    batch = message.table(2)
    if batch.place(3):
        raise ValueError("its buffers are compressed")
    buffers = [_PAIR.unpack(pair) for pair in batch.structs(2, _PAIR.size)]
    if any(min(start, length) < 0 or start + length > body for start, length in buffers):
        raise ValueError("a buffer is not within its record batch")
    return RecordBatch(batch.number(0, "<q"), tuple((place + metadata + start, length) for start, length in buffers))


class _Table:
    """A table of a flatbuffer: fields of which some may be absent. Reading outside of the data raises struct.error."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data, self._start = data, start
        self._fields = start - self._at("<i", start)
        self._size = self._at("<H", self._fields)

    def _at(self, kind: str, place: int) -> int:
        if place < 0:  # struct would count from the end
            raise struct.error("negative place")
        return struct.unpack_from(kind, self._data, place)[0]

    def place(self, field: int) -> int:
        """Return the place of a field, 0 if it is absent."""
        entry = 4 + 2 * field
        offset = self._at("<H", self._fields + entry) if entry < self._size else 0
        return self._start + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        """Return a number, 0 if it is absent."""
        place = self.place(field)
        return self._at(kind, place) if place else 0

    def table(self, field: int) -> "_Table":
        """Return the table that a field refers to."""
        return _Table(self._data, self._target(self.place(field)))

    def text(self, field: int) -> str:
        """Return a string."""
        place = self._target(self.place(field))
        return self._data[place + 4 : place + 4 + self._at("<I", place)].decode(errors="replace")

    def tables(self, field: int) -> list["_Table"]:
        """Return the tables of a vector."""
        start, count = self._vector(field, 4)
        return [_Table(self._data, self._target(start + 4 * i)) for i in range(count)]

    def structs(self, field: int, size: int) -> list[bytes]:
        """Return the structs of a vector, of `size` bytes each; none if it is absent."""
        start, count = self._vector(field, size)
        return [self._data[start + size * i : start + size * (i + 1)] for i in range(count)]

    def _target(self, place: int) -> int:
        return place + self._at("<I", place)

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        place = self.place(field)
        if not place:
            return 0, 0
        start = self._target(place)
        count = self._at("<I", start)
        if count * size > len(self._data):
            raise struct.error("a vector is longer than the metadata")
        return start + 4, count


def _root(data: bytes) -> _Table:
    return _Table(data, struct.unpack_from("<I", data, 0)[0])
