"""Files, folders and lines are whole or not there, when a process is killed and when the disk is full."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest

from rnnt.files import (
    HashingFile,
    LineFile,
    locked,
    replacing,
    replacing_folder,
    sha256_of,
    sync_file,
    sync_folder,
    whole_lines,
    write_file,
    write_json,
)

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from rnnt.files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half of the new")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""

KILLED_WHILE_FILLING = """
import os, signal, sys
from pathlib import Path
from rnnt.files import replacing_folder
with replacing_folder(Path(sys.argv[1])) as folder:
    (folder / "a").write_text("half of the new")
    os.kill(os.getpid(), signal.SIGKILL)
"""

# The limit on a file's size acts like a full disk: the write that reaches it is incomplete, the next one fails.
LIMITED = """
import resource, sys
from pathlib import Path
from rnnt.files import LineFile
path = Path(sys.argv[1])
lines = LineFile(path, durable=True)
lines.append(b"first line")
resource.setrlimit(resource.RLIMIT_FSIZE, (15, resource.RLIM_INFINITY))
for line in (b"second line", b"3rd", b"fourth line"):
    try:
        lines.append(line + bytes([10]))
    except OSError:
        print("no room")
    print(path.read_bytes(), lines.end)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
lines.append(b"last line")
lines.close()
lines.close()
print(path.read_bytes())
"""

LOCKS = """
import sys
from pathlib import Path
from rnnt.files import locked
with locked(Path(sys.argv[1]), "held"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_write_replaces_text_and_bytes(tmp_path):
    path = tmp_path / "file"
    write_file(path, "straße \udce9")
    assert path.read_bytes() == "straße \\udce9".encode()
    write_file(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff" and list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    write_file(path, "old")
    with pytest.raises(OSError, match="No space left"), replacing(path) as file:
        file.write(b"new")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_of_the_system_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_file(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            write_file(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_writing_leaves_the_old_file_and_nothing_that_piles_up(tmp_path):
    path = tmp_path / "file"
    write_file(path, "old")
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL and path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    write_file(path, "new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_json_is_read_back(tmp_path):
    value = {"name": "straße", "list": [1, 2.5, None]}
    write_json(tmp_path / "value.json", value)
    assert json.loads((tmp_path / "value.json").read_bytes()) == value


def fill(folder, text):
    (folder / "a").write_text(text)
    with open(folder / "b", "wb") as file:
        file.write(text.encode())
        sync_file(file)


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_folder_is_made_and_replaced_with_all_that_was_in_it(tmp_path):
    path = tmp_path / "folder"
    with replacing_folder(path) as folder:
        fill(folder, "old")
        assert not path.exists()
    (path / "c").mkdir()
    with replacing_folder(path) as folder:
        assert list(folder.iterdir()) == []
        fill(folder, "new")
        assert contents(path / "c") == {} and (path / "a").read_text() == "old"
    assert contents(path) == {"a": "new", "b": "new"} and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace", None])
def test_a_folder_that_could_not_be_filled_leaves_no_trace(tmp_path, monkeypatch, call):
    other = tmp_path / "other"
    fill_new = fill if call else full
    with monkeypatch.context() as patch:
        if call:
            patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"), replacing_folder(other) as folder:
            fill_new(folder, "new")
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_a_folder_is_filled_leaves_the_old_one(tmp_path):
    path = tmp_path / "folder"
    with replacing_folder(path) as folder:
        fill(folder, "old")
    with pytest.raises(KeyboardInterrupt), replacing_folder(path) as folder:
        fill(folder, "new")
        raise KeyboardInterrupt
    assert contents(path) == {"a": "old", "b": "old"} and list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_filling_leaves_the_old_folder_and_nothing_that_piles_up(tmp_path):
    path = tmp_path / "folder"
    with replacing_folder(path) as folder:
        fill(folder, "old")
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED_WHILE_FILLING, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL and contents(path) == {"a": "old", "b": "old"}
    assert len(list(tmp_path.iterdir())) == 2
    with replacing_folder(path) as folder:
        fill(folder, "new")
    assert contents(path) == {"a": "new", "b": "new"} and list(tmp_path.iterdir()) == [path]


def test_lines_are_in_the_file_at_once_and_follow_those_that_are_kept(tmp_path):
    path = tmp_path / "lines"
    lines = LineFile(path)
    lines.append(b"one\n")
    lines.append(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n" and lines.end == 8
    lines.truncate(4)
    lines.append(b"three\n")
    assert path.read_bytes() == b"one\nthree\n" and lines.end == 10
    lines.close()
    resumed = LineFile(path, 4)
    resumed.append(b"four\n")
    assert path.read_bytes() == b"one\nfour\n"
    assert LineFile(path).end == 0 and path.read_bytes() == b""


def test_a_line_that_does_not_fit_is_lost_whole_and_one_that_fits_is_not(tmp_path):
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path / "lines"], stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode().splitlines() == [
        "no room", "b'first line' 10", "b'first line3rd\\n' 14", "no room", "b'first line3rd\\n' 14",
        "b'first line3rd\\nlast line'",
    ]  # fmt: skip


@pytest.mark.parametrize("tail", [b"", b"2", b"9\n", b"9\n1\n"])
def test_whole_lines_end_at_the_first_that_is_refused_or_incomplete(tmp_path, tail):
    path = tmp_path / "lines"
    path.write_bytes(b"1\n2\n\n3\n" + tail)
    assert whole_lines(path, lambda line: line < b"9") == 7
    assert whole_lines(path, lambda line: line != b"2\n") == 2
    path.write_bytes(b"")
    assert whole_lines(path, lambda line: True) == 0


def test_a_lock_excludes_other_processes_until_its_holder_ends_however_it_ends(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", LOCKS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with (
            pytest.raises(ValueError, match="somebody prepares it already"),
            locked(path, "somebody prepares it already"),
        ):
            raise AssertionError("two hold the lock")
        holder.kill()
        holder.wait()
        with locked(path, "held"):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path / "lock", "somebody has it"):
        pass


def test_a_checksum_is_that_of_the_whole_file(tmp_path):
    content = bytes(range(256)) * 8192 + b"end"  # longer than the blocks in which it is read
    write_file(tmp_path / "file", content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    sync_folder(tmp_path)


def test_a_checksum_is_computed_while_writing(tmp_path):
    file = HashingFile(tmp_path / "a")
    for data in (b"one", b"", b"two" * 100_000):
        assert file.write(data) == len(data)
    file.flush()
    file.sync()
    assert not file.closed
    file.close()
    content = (tmp_path / "a").read_bytes()
    assert content == b"one" + b"two" * 100_000 and file.closed and file.bytes == len(content)
    assert file.sha256.hexdigest() == sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()
