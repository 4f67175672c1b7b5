"""scripts/download_librispeech.sh against a server on this machine that can break off, resume and lie."""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "download_librispeech.sh"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def archive(part):
    """The bytes of a small LibriSpeech-like archive."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(len(part)).bytes(200_000)
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in (
            ("LibriSpeech/SPEAKERS.TXT", b"speakers"),
            (f"LibriSpeech/{part}/84/1/84-1.trans.txt", b"84-1-0000 GO\n"),
            (f"LibriSpeech/{part}/84/1/84-1-0000.flac", noise),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Server:
    """Serves `files` with ranges; `breaks` holds how many bytes each of the next answers may send."""

    def __init__(self):
        self.files = {f"{part}.tar.gz": archive(part) for part in ("dev-clean", "test-other")}
        self.breaks, self.ranges, self.resumes = [], [], True
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                content = owner.files.get(self.path.rpartition("/")[2])
                if content is None:
                    return self.send_error(404)
                asked = self.headers.get("Range") if owner.resumes else None
                owner.ranges.append(asked)
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(content) - start))
                if asked:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.end_headers()
                allowed = owner.breaks.pop(0) if owner.breaks else len(content)
                self.wfile.write(content[start : start + allowed])
                self.close_connection = True
                return None

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def url(self):
        return f"http://127.0.0.1:{self.http.server_port}/resources/12"


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def download(server, tmp_path):
    def run(*arguments, folder=tmp_path / "data", **environment):
        sums = tmp_path / "md5"
        if not sums.exists():
            lines = [f"{hashlib.md5(data).hexdigest()}  {name}\n" for name, data in server.files.items()]
            sums.write_text("".join(lines))
        variables = {
            **os.environ,
            "LIBRISPEECH_URL": server.url(),
            "LIBRISPEECH_MD5": str(sums),
            "no_proxy": "127.0.0.1",
            **environment,
        }
        command = ["bash", SCRIPT, folder, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables, check=False)

    return run


def test_fetches_checks_and_unpacks_all_parts(server, download, tmp_path):
    run = download()
    assert run.returncode == 0, run.stderr
    for part in ("dev-clean", "test-other"):
        assert (tmp_path / "data/LibriSpeech" / part / "84/1/84-1.trans.txt").read_text() == "84-1-0000 GO\n"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["LibriSpeech"]  # archives are gone
    assert (tmp_path / "data/LibriSpeech/SPEAKERS.TXT").exists()
    asked = len(server.ranges)
    again = download()
    assert again.returncode == 0 and "dev-clean: already there" in again.stdout
    assert len(server.ranges) == asked


def test_only_the_named_part(download, tmp_path):
    assert download("test-other").returncode == 0
    assert [path.name for path in (tmp_path / "data/LibriSpeech").iterdir() if path.is_dir()] == ["test-other"]
    run = download("dev-cleam")
    assert run.returncode == 2 and "no part dev-cleam; there are dev-clean test-other" in run.stderr


def test_a_broken_transfer_goes_on_where_it_stopped(server, download, tmp_path):
    server.breaks = [50_000, 70_000]
    run = download("dev-clean")
    assert run.returncode == 0, run.stderr
    assert server.ranges == [None, "bytes=50000-", "bytes=120000-"]
    assert (tmp_path / "data/LibriSpeech/dev-clean/.complete").exists()


def test_a_server_that_is_gone_and_comes_back(server, download, tmp_path):
    server.breaks = [50_000, 0]  # a second attempt that brings nothing ends the run
    run = download("dev-clean")
    assert run.returncode == 2 and "could not be fetched" in run.stderr and "to continue" in run.stderr
    assert not (tmp_path / "data/LibriSpeech").exists()
    assert download("dev-clean").returncode == 0
    assert server.ranges[-1] == "bytes=50000-"


def test_a_server_that_cannot_resume(server, download):
    server.breaks, server.resumes = [50_000], False
    assert download("dev-clean").returncode == 0


def test_killed_between_the_last_byte_and_the_check(server, download, tmp_path):
    archives = tmp_path / "data/archives"
    archives.mkdir(parents=True)
    (archives / "dev-clean.tar.gz.partial").write_bytes(server.files["dev-clean.tar.gz"])
    run = download("dev-clean")
    assert run.returncode == 0, run.stderr


def test_a_wrong_sum_removes_the_archive(server, download, tmp_path):
    right = server.files["dev-clean.tar.gz"]
    wrong = bytearray(right)
    wrong[1000] ^= 1
    download("test-other")  # notes the right sums
    server.files["dev-clean.tar.gz"] = bytes(wrong)
    run = download("dev-clean")
    assert run.returncode == 2
    assert f"MD5 {hashlib.md5(wrong).hexdigest()} instead of {hashlib.md5(right).hexdigest()}" in run.stderr
    assert not list((tmp_path / "data/archives").iterdir())
    assert not (tmp_path / "data/LibriSpeech/dev-clean").exists()
    server.files["dev-clean.tar.gz"] = right
    assert download("dev-clean").returncode == 0


def test_what_it_did_not_unpack_is_left_alone(server, download, tmp_path):
    mine = tmp_path / "data/LibriSpeech/dev-clean/notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    run = download("dev-clean")
    assert run.returncode == 2 and "was not unpacked by this script" in run.stderr
    assert mine.read_text() == "mine" and not server.ranges


def test_the_rest_of_an_unpacking_that_was_killed(download, tmp_path):
    rest = tmp_path / "data/.dev-clean.unpacking/LibriSpeech/dev-clean/84/1"
    rest.mkdir(parents=True)
    (rest / "half.flac").write_bytes(b"fLaC")
    assert download("dev-clean").returncode == 0
    assert not list((tmp_path / "data/LibriSpeech").rglob("half.flac"))


def hostile(name="LibriSpeech/dev-clean/84/1/x", kind=tarfile.REGTYPE, mode=0o644, link=""):
    """An archive with one more entry, which is not the first, so that another would be unpacked before it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for entry in (tarfile.TarInfo("LibriSpeech/dev-clean/84/1/first"), tarfile.TarInfo(name)):
            if entry.name == name:
                entry.type, entry.mode, entry.linkname = kind, mode, link
            tar.addfile(entry)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"kind": tarfile.SYMTYPE, "link": "/etc"}, "neither a file nor a folder"),
        ({"kind": tarfile.SYMTYPE, "link": "first"}, "neither a file nor a folder"),
        ({"kind": tarfile.LNKTYPE, "link": "LibriSpeech/dev-clean/84/1/first"}, "neither a file nor a folder"),
        ({"kind": tarfile.FIFOTYPE}, "neither a file nor a folder"),
        ({"kind": tarfile.CHRTYPE}, "neither a file nor a folder"),
        ({"mode": 0o4755}, "setuid"),
        ({"mode": 0o2755}, "setuid"),
        ({"mode": 0o4644}, "setuid"),
        ({"mode": 0o2775, "kind": tarfile.DIRTYPE}, "setuid"),
        ({"mode": 0o1777, "kind": tarfile.DIRTYPE}, "sticky"),
        ({"name": "/tmp/escaped"}, "leads out of the folder"),
        ({"name": "../escaped"}, "leads out of the folder"),
        ({"name": ".."}, "leads out of the folder"),
        ({"name": "LibriSpeech/../../escaped"}, "leads out of the folder"),
        ({"name": "LibriSpeech/dev-clean/84/..", "kind": tarfile.DIRTYPE}, "leads out of the folder"),
    ],
)
def test_an_archive_with_more_than_files_and_folders_is_not_unpacked(server, download, tmp_path, entry, why):
    server.files["dev-clean.tar.gz"] = hostile(**entry)
    run = download("dev-clean")
    assert run.returncode == 2 and run.stdout.endswith("unpacking\n")
    assert len(run.stderr.splitlines()[-1:]) == 1 and why in run.stderr.splitlines()[-1]
    assert "dev-clean.tar.gz is not unpacked: an entry " in run.stderr and "disk" not in run.stderr
    assert not list(tmp_path.rglob("first")) and not list(tmp_path.rglob("escaped"))


def test_names_that_only_look_odd_are_unpacked(server, download, tmp_path):
    server.files["dev-clean.tar.gz"] = hostile("LibriSpeech/dev-clean/a..b/..c/d.. e/...", mode=0o777)
    assert download("dev-clean").returncode == 0
    (odd,) = tmp_path.rglob("...")
    assert odd.stat().st_mode & 0o7022 == 0  # the umask holds, also for root


def test_a_failed_unpacking_is_put_down_to_its_cause(server, download, tmp_path):
    whole = server.files["dev-clean.tar.gz"]
    server.files["dev-clean.tar.gz"] = whole[: len(whole) // 2]  # with the sum that belongs to it
    run = download("dev-clean")
    assert run.returncode == 2 and "could not be read: " in run.stderr
    assert "unexpected end of file" in run.stderr and "disk" not in run.stderr
    server.files["dev-clean.tar.gz"] = b"no archive"
    (tmp_path / "md5").unlink()
    (tmp_path / "data/archives/dev-clean.tar.gz").unlink()
    run = download("dev-clean")
    assert run.returncode == 2 and "not in gzip format" in run.stderr and "disk" not in run.stderr


@pytest.mark.parametrize(
    ("says", "shown"),
    [
        ("echo 'tar: a.flac: Cannot write: No space left on device' >&2; exit 2", "the disk is full; make room"),
        ("echo 'tar: a: Cannot write: Disk quota exceeded' >&2; exit 2", "the disk is full; make room"),
        ("echo 'tar: a: Cannot open: Permission denied' >&2; exit 2", "data: tar: a: Cannot open: Permission denied"),
        ("kill -9 $$", "data: tar ended with code 137"),
        (
            "echo 'tar: Ignoring unknown extended header keyword' >&2; echo 'tar: b: Input/output error' >&2; exit 2",
            "data: tar: b: Input/output error",
        ),
    ],
)
def test_what_tar_says_while_it_unpacks_is_passed_on(download, tmp_path, says, shown):
    tar = tmp_path / "bin" / "tar"
    tar.parent.mkdir()
    tar.write_text(f'#!/bin/sh\ncase $1 in -t*) exec {shutil.which("tar")} "$@";; esac\n{says}\n')
    tar.chmod(0o755)
    run = download("dev-clean", PATH=f"{tar.parent}:{os.environ['PATH']}")
    assert run.returncode == 2 and shown in run.stderr.splitlines()[-1]
    assert ("disk is full" in run.stderr) == ("disk is full" in shown)
    assert not (tmp_path / "data/LibriSpeech/dev-clean").exists()
    assert download("dev-clean").returncode == 0  # with the archive that is there


def test_without_curl(server, download, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in "bash awk mkdir cat md5sum cut tar gzip find mv rm rmdir touch wc tr".split():  # noqa: SIM905
        (tools / tool).symlink_to(shutil.which(tool))
    run = download("dev-clean", PATH=str(tools))
    assert run.returncode == 2 and "curl is missing: install it" in run.stderr
    archive_by_hand = tmp_path / "data/archives/dev-clean.tar.gz"
    archive_by_hand.write_bytes(server.files["dev-clean.tar.gz"])
    assert download("dev-clean", PATH=str(tools)).returncode == 0


def test_mistakes_are_explained(server, download, tmp_path):
    assert "usage" in subprocess.run(["bash", SCRIPT], capture_output=True, text=True, check=False).stderr
    run = download(LIBRISPEECH_MD5=str(tmp_path / "missing"))
    assert run.returncode == 2 and "cannot be read" in run.stderr
    del server.files["dev-clean.tar.gz"]
    (tmp_path / "md5").write_text("0" * 32 + "  dev-clean.tar.gz\n")
    run = download("dev-clean")
    assert run.returncode == 2 and "could not be fetched (curl error 22)" in run.stderr


def test_the_sums_of_the_seven_parts():
    text = SCRIPT.read_text()
    for part, md5 in {
        "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
        "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
        "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
        "test-other": "fb5a50374b501bb3bac4815ee91d3135",
        "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
        "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
        "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
    }.items():
        assert f"{md5}  {part}.tar.gz" in text
