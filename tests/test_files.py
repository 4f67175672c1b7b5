"""Files replaced as a whole, by processes that are killed and disks that are full."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from rnnt.files import replacing, write_file

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from rnnt.files import replacing, write_file
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half of the new")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


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

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

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
