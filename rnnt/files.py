"""Files, folders and lines that are on the disk whole or not at all, whatever ends the process; checksums; locks."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write into. It takes the name `path` when the `with` ends; until then the old file stays.

    On an error (a full disk too) the new file is removed and the error goes on.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            sync_file(file)
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError name this file if it names none: writing into an open file gives those of a full disk so."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_file(path: Path, content: bytes | str) -> None:
    """Replace a file's content; text is written as UTF-8."""
    with naming(path), replacing(path) as file:
        # Python shows the bytes of a file name that is not UTF-8 as lone surrogates: write these escaped.
        file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Replace a file's content by `value` as JSON."""
    write_file(path, json.dumps(value, ensure_ascii=False, indent=1))


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill. It takes the place of the folder `path` when the `with` ends.

    The files written into it must be flushed to the disk by the caller (`sync_file`). On an error the new folder is
    removed and the error goes on; the folder `path`, if there is one, stays.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
    try:
        temporary.mkdir()
        yield temporary
        sync_folder(temporary)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class LineFile:
    """A file that grows by whole lines. A line that does not fit on the disk is lost whole.

    path: its first `end` bytes are kept, the rest is removed. durable: a line is on the disk when `append` returns.
    """

    def __init__(self, path: Path, end: int = 0, durable: bool = False):
        # Unbuffered: each line is one write, so a killed process leaves all lines that it has appended.
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        self._durable = durable
        self.truncate(end)

    def append(self, line: bytes) -> None:
        """Add a line, which must end with a line feed. Raises OSError if it cannot be written whole."""
        try:
            if self._file.write(line) != len(line):
                raise OSError("no room for a line")
            if self._durable:
                os.fsync(self._file.fileno())
            self.end += len(line)
        except OSError:
            self._file.truncate(self.end)  # removes the beginning of the line, if it was written
            raise

    def truncate(self, end: int) -> None:
        """Keep only the first `end` bytes. This needs no room on the disk and happens at once or not at all."""
        self._file.truncate(end)
        self.end = end

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()


class HashingFile:
    """A file that computes the SHA-256 of its contents as they are written, so that it is not read back for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    @property
    def closed(self) -> bool:
        """True once the file is closed."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        """Append bytes and return their number."""
        self.sha256.update(data)
        self.bytes += len(data)
        with naming(self._path):
            return self._file.write(data)

    def flush(self) -> None:
        """Pass everything on to the system."""
        with naming(self._path):
            self._file.flush()

    def sync(self) -> None:
        """Flush the file to the disk."""
        with naming(self._path):
            sync_file(self._file)

    def close(self) -> None:
        """Close the file."""
        with naming(self._path):
            self._file.close()


def whole_lines(path: Path, keep: Callable[[bytes], bool]) -> int:
    """Return the number of bytes up to the first line that `keep` refuses, or up to an incomplete last line."""
    end = 0
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n") or not keep(line):
                break
            end += len(line)
    return end


@contextmanager
def locked(path: Path, complaint: str = "") -> Iterator[None]:
    """Hold a lock on the file `path`, which the system releases when this process ends, however it ends.

    If another process holds it, raises ValueError with the `complaint`, or waits if that is empty. A file system
    without locks protects nothing.
    """
    with path.open("ab") as file:  # not emptied: nothing is written, so a full disk is no obstacle
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if complaint else 0))
        except BlockingIOError:
            raise ValueError(complaint) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
        yield


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
    return sha256.hexdigest()


def sync_file(file: BinaryIO) -> None:
    """Flush an open file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with naming(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
