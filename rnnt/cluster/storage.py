"""Files of this machine, and files that a URI names, such as s3://bucket/folder/file.wav."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pyarrow import ArrowException, fs

from rnnt.audio import AUDIO_SUFFIXES
from rnnt.files import sha256_of
from rnnt.text import reason
from rnnt.tree import find_files

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Found:
    """A file: its size in bytes, and the date of its last change (ns; 0 if it is not known)."""

    path: str
    size: int
    modified: int


def is_uri(path: str) -> bool:
    """Return whether a path is a URI, which names a file in some storage and not on this machine.

    >>> is_uri("s3://archive/1950/a.wav"), is_uri("/archive/1950/a.wav")
    (True, False)
    """
    return "://" in path


def is_folder(path: str) -> bool:
    """Return whether a path or a URI names a folder. Raises ValueError if the storage cannot be asked."""
    if not is_uri(path):
        return os.path.isdir(path)
    with _readable(path) as (system, inner):
        return system.get_file_info(inner).type == fs.FileType.Directory


def audio_in(folder: str) -> Iterator[Found]:
    """Yield the audio files in a folder at all depths, sorted by path, without hidden ones.

    Raises ValueError if there are none, or if a folder in it cannot be read.
    """
    if not is_uri(folder):
        tree = find_files(Path(folder))
        for problem in tree.unreadable.values():
            raise ValueError(f"{problem}; a folder of the archive cannot be read")
        paths = [str(path) for path in tree.files if path.suffix.lower() in AUDIO_SUFFIXES]
        found = (file for file in look_up(paths) if file is not None)
    else:
        with _readable(folder) as (system, inner):
            infos = system.get_file_info(fs.FileSelector(inner, recursive=True))
        files = [info for info in infos if info.type == fs.FileType.File and _is_audio(info.path[len(inner) :])]
        native = not isinstance(system, fs.PyFileSystem)
        found = (_found(_uri_in(folder, inner, info.path, native), info) for info in sorted(files, key=_path_of))
    empty = True
    for file in found:
        empty = False
        yield file
    if empty:
        raise ValueError(f"{folder} holds no audio files")


def look_up(paths: Sequence[str]) -> Iterator[Found | None]:
    """Yield each file with its size and date, or None if it does not exist or is a folder."""
    for path in paths:
        if is_uri(path):
            with _readable(path) as (system, inner):
                info = system.get_file_info(inner)
            yield _found(path, info) if info.type == fs.FileType.File else None
            continue
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            yield None
            continue
        yield None if os.path.isdir(path) else Found(path, status.st_size, status.st_mtime_ns)


def copied_name(path: str) -> str | None:
    """Return the name for complaints about a `local_copy`; None if the file's own name is right."""
    return path if is_uri(path) else None


@contextmanager
def local_copy(path: str) -> Iterator[tuple[Path, str]]:
    """Give a file of this machine with the contents of `path`, and their SHA-256. A file of this machine is its own.

    Raises ValueError or OSError if the file cannot be read.
    """
    if not is_uri(path):
        yield Path(path), _digest(Path(path))
        return
    with tempfile.NamedTemporaryFile(prefix="rnnt-", suffix=Path(path.split("?")[0]).suffix) as copy:
        sha256 = hashlib.sha256()
        with _readable(path) as (system, inner), system.open_input_stream(inner) as file:
            while block := file.read(_BLOCK):
                sha256.update(block)
                copy.write(block)
        copy.flush()
        yield Path(copy.name), sha256.hexdigest()


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; "" if it cannot be read: reading its audio gives the reason."""
    try:
        return sha256_of(path) if path.is_file() else ""
    except (OSError, ValueError):
        return ""


@contextmanager
def _readable(uri: str) -> Iterator[tuple[fs.FileSystem, str]]:
    """Give the file system of a URI and the path in it. Errors become a ValueError that names the URI."""
    try:
        yield _system(uri)
    except FileNotFoundError:
        raise ValueError(f"{uri}: no such file") from None
    except (OSError, ImportError, ArrowException) as error:
        raise ValueError(f"{uri}: cannot be read ({reason(error)})") from None


def _system(uri: str) -> tuple[fs.FileSystem, str]:
    parts = urlsplit(uri.replace("#", "%23"))
    native = _native_system(f"{parts.scheme}://{parts.netloc}/" + (f"?{parts.query}" if parts.query else ""))
    if native is not None:
        return native[0], (native[1].rstrip("/") + unquote(parts.path)).rstrip("/")
    try:
        from fsspec.core import url_to_fs

        system, inner = url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{uri}: cannot be read ({reason(error)})") from None
    return fs.PyFileSystem(fs.FSSpecHandler(system)), inner


@lru_cache(maxsize=64)
def _native_system(root: str) -> tuple[fs.FileSystem, str] | None:
    """Return pyarrow's file system of a URI without its path, and the root's path there; None if pyarrow has none.

    They are kept, because opening one asks S3 for the region of the bucket.
    """
    try:
        return fs.FileSystem.from_uri(root)
    except ValueError as error:  # ArrowInvalid is a ValueError
        if "nrecognized filesystem" in str(error):
            return None
        raise ValueError(f"{root}: {reason(error)}") from None


def _uri_in(folder: str, inner: str, path: str, quoted: bool) -> str:
    """Return the URI of a file below a folder. quoted: its characters are escaped as pyarrow's URIs need it."""
    bare, sign, query = folder.partition("?")
    below = path[len(inner) :].lstrip("/")
    return f"{bare.rstrip('/')}/{quote(below) if quoted else below}{sign}{query}"


def _path_of(info: fs.FileInfo) -> str:
    return info.path


def _is_audio(relative: str) -> bool:
    parts = relative.strip("/").split("/")
    return not any(part.startswith(".") for part in parts) and Path(parts[-1]).suffix.lower() in AUDIO_SUFFIXES


def _found(path: str, info: fs.FileInfo) -> Found:
    return Found(path, info.size or 0, info.mtime_ns or 0)
