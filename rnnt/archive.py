"""Tar archives that may come from strangers. Members are read in place, and nothing is unpacked to the disk."""

import gzip
import itertools
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rnnt.text import one_line, reason

_MOST_MEMBERS = 10_000
_MOST_GROWTH = 8  # a compressed archive may unpack to so many times its size; weights shrink by a tenth
_LEAST_GROWTH = 64 << 20  # or to this many bytes
_BLOCK = 1 << 20


class Archive:
    """The files of an open tar archive by their names, without a leading "./". where: how error messages call it."""

    def __init__(self, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], where: str):
        self._tar, self._members, self._where = tar, members, where

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def open(self, name: str) -> BinaryIO:
        """Open a member for reading, with `seek`. Raises ValueError if there is none of this name."""
        if name not in self._members:
            raise ValueError(f"{self._where} holds no {one_line(name)[:100]}; fetch it again")
        return self._tar.extractfile(self._members[name])

    def read(self, name: str, most: int) -> bytes:
        """Return the bytes of a member. Raises ValueError if there is none of this name, or it has more than `most`."""
        with self.open(name) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"{self._where}: {name} is too long: more than {most >> 20} MiB")
        return content


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a tar archive, compressed by gzip or not.

    Raises ValueError if it is no archive or truncated, or if it is not plain: members outside of the archive's folder,
    links, devices, two members of one name and holes are refused.
    """
    if not path.is_file():
        raise ValueError(f"no file {path}")
    with path.open("rb") as file, tempfile.TemporaryFile() as unpacked:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if compressed:
            most = max(_MOST_GROWTH * path.stat().st_size, _LEAST_GROWTH)
            _unpack(file, unpacked, most, path)
        plain = unpacked if compressed else file
        size = plain.seek(0, 2)
        plain.seek(0)
        tar, members = _list(plain, path)
        with tar:
            yield Archive(tar, _plain(members, size, path), str(path))


def _list(file: BinaryIO, path: Path) -> tuple[tarfile.TarFile, list[tarfile.TarInfo]]:
    """Return the open archive, and its members up to one more than there may be."""
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115, the caller closes it
        return tar, list(itertools.islice(tar, _MOST_MEMBERS + 1))
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is no tar archive, or is truncated ({reason(error)}); fetch it again") from None


def _unpack(file: BinaryIO, unpacked: BinaryIO, most: int, path: Path) -> None:
    """Decompress into another file, at most so many bytes."""
    try:
        with gzip.open(file) as content:
            while block := content.read(_BLOCK):
                unpacked.write(block)
                if unpacked.tell() > most:
                    raise ValueError(f"{path} unpacks to far more than its size; no archive of weights does")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is truncated or damaged ({reason(error)}); fetch it again") from None


def _plain(members: list[tarfile.TarInfo], size: int, path: Path) -> dict[str, tarfile.TarInfo]:
    """Return the files among the members, by their names. size: bytes of the archive."""
    if len(members) > _MOST_MEMBERS:
        raise ValueError(f"{path} holds more than {_MOST_MEMBERS} files; no model has so many")
    files = {}
    for member in members:
        shown = one_line(member.name)[:100]
        parts = member.name.split("/")
        if member.name.startswith(("/", "\\")) or ".." in parts or "\\" in member.name or ":" in parts[0]:
            raise ValueError(f"{path} holds {shown}, a path that leads out of it; do not use this file")
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise ValueError(f"{path} holds {shown}, which is a link or another special file; do not use this file")
        if member.offset_data + member.size > size:
            raise ValueError(f"{path} is truncated within {shown}; fetch it again")
        name = "/".join(part for part in parts if part not in ("", "."))
        if name in files:
            raise ValueError(f"{path} holds {shown} twice; do not use this file")
        files[name] = member
    return files
