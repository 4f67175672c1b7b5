"""Members of tar archives are read by their names; archives that are not plain are refused."""

import gzip
import io
import tarfile

import pytest

import rnnt.archive
from rnnt.archive import open_archive


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, io.BytesIO(content)


def archive(path, *members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for info, content in members:
            tar.addfile(info, content)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_are_read_in_place(tmp_path, mode):
    members = [member("./", type=tarfile.DIRTYPE), member("./a.txt", b"one"), member("b/c.txt", b"three" * 1000)]
    with open_archive(archive(tmp_path / "x.tar", *members, mode=mode)) as found:
        assert "a.txt" in found and "b/c.txt" in found and "./a.txt" not in found and "" not in found
        assert found.read("a.txt", 3) == b"one"
        with found.open("b/c.txt") as file:
            file.seek(4995)
            assert file.read() == b"three"
        with pytest.raises(ValueError, match=r"x.tar: a.txt is too long"):
            found.read("a.txt", 2)
        with pytest.raises(ValueError, match=r"x.tar holds no c.txt; fetch it again"):
            found.open("c.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tar"]


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (member("../a", b"x"), r"holds ../a, a path that leads out of it"),
        (member("a/../../b", b"x"), "a path that leads out of it"),
        (member("/etc/passwd", b"x"), "a path that leads out of it"),
        (member("C:/a", b"x"), "a path that leads out of it"),
        (member("..\\a", b"x"), "a path that leads out of it"),
        (member("a", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "holds a, which is a link"),
        (member("a", type=tarfile.LNKTYPE, linkname="b"), "holds a, which is a link"),
        (member("a", type=tarfile.CHRTYPE), "a link or another special file"),
        (member("a", type=tarfile.FIFOTYPE), "a link or another special file"),
    ],
)
def test_members_that_are_not_plain(tmp_path, info, message):
    path = archive(tmp_path / "x.tar", member("good", b"x"), info)
    with pytest.raises(ValueError, match=message) as error, open_archive(path):
        pass
    assert "\n" not in str(error.value)


def test_two_members_of_one_name(tmp_path):
    path = archive(tmp_path / "x.tar", member("a", b"x"), member("./a", b"y"))
    with pytest.raises(ValueError, match=r"holds ./a twice"), open_archive(path):
        pass


def test_holes_are_refused(tmp_path):
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 50)}
    content = b"1\n0\n0\n".ljust(512, b"\0")
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info, file = member("a", content)
        info.pax_headers = pax
        tar.addfile(info, file)
    with pytest.raises(ValueError, match=r"special file|truncated"), open_archive(path):
        pass


def test_a_member_with_a_false_size(tmp_path):
    info, _ = member("a")
    info.size = 1 << 40
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf() + bytes(1024))
    with pytest.raises(ValueError, match="truncated"), open_archive(path):
        pass


@pytest.mark.parametrize(
    "content", [b"", b"no archive at all", bytes(100), b"\x1f\x8b", gzip.compress(b"no archive", mtime=0)]
)
def test_other_files(tmp_path, content):
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.tar .*fetch it again"), open_archive(path):
        pass


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="no file"), open_archive(tmp_path):
        pass


def test_an_archive_that_unpacks_to_far_more(tmp_path, monkeypatch):
    monkeypatch.setattr(rnnt.archive, "_LEAST_GROWTH", 1 << 20)
    path = archive(tmp_path / "x.tar", member("zeros", bytes(3 << 20)), mode="w:gz")
    with pytest.raises(ValueError, match="unpacks to far more than its size"), open_archive(path):
        pass


def test_an_archive_of_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(rnnt.archive, "_MOST_MEMBERS", 3)
    path = archive(tmp_path / "x.tar", *(member(str(i)) for i in range(4)))
    with pytest.raises(ValueError, match="more than 3 files"), open_archive(path):
        pass
