"""Files of this machine and of URIs: what is found, and what is read. An S3 server runs on this machine."""

import hashlib

import pytest

from rnnt.cluster.storage import audio_in, is_folder, is_uri, local_copy, look_up


def test_the_audio_of_a_folder_on_s3(s3):
    for name in (
        "1950/b c.wav",
        "1950/a.FLAC",
        "1950/sub/ü%?.mp3",
        "1950/.hidden/a.wav",
        "1950/.a.wav",
        "1950/note.txt",
    ):
        s3.put(name, name.encode())
    found = list(audio_in(s3("1950")))
    assert [file.path for file in found] == [
        s3(f"1950/{name}") for name in ("a.FLAC", "b%20c.wav", "sub/%C3%BC%25%3F.mp3")
    ]
    assert [file.size for file in found] == [11, 12, 17] and all(file.modified > 0 for file in found)
    assert list(look_up([file.path for file in found])) == found
    for file, name in zip(found, ("1950/a.FLAC", "1950/b c.wav", "1950/sub/ü%?.mp3")):
        with local_copy(file.path) as (path, digest):
            assert path.read_bytes() == name.encode() and digest == hashlib.sha256(name.encode()).hexdigest()
        assert not path.exists()
    assert is_folder(s3("1950")) and not is_folder(s3("1950/a.FLAC"))


def test_what_s3_does_not_have(s3):
    assert list(look_up([s3("1950/none.wav"), s3("1950")])) == [None, None]
    with pytest.raises(ValueError, match=r"^s3://archive/none.wav.*: no such file$"), local_copy(s3("none.wav")):
        pass
    with pytest.raises(ValueError, match=r"1950/none\?.*: no such file"):
        list(audio_in(s3("1950/note.txt").replace("note.txt", "none")))


def test_other_file_systems_are_those_of_fsspec():
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe("/storage-test/a.wav", b"12")
    assert [file.size for file in audio_in("memory://storage-test")] == [2]
    with local_copy("memory://storage-test/a.wav") as (path, digest):
        assert path.read_bytes() == b"12" and digest == hashlib.sha256(b"12").hexdigest()
    with pytest.raises(ValueError, match=r"^nosuch://a: cannot be read \(Protocol not known"):
        is_folder("nosuch://a")


def test_files_of_this_machine(tmp_path):
    (tmp_path / "b.wav").write_bytes(b"123")
    (tmp_path / "a.txt").write_bytes(b"")
    (found,) = audio_in(str(tmp_path))
    assert (found.path, found.size) == (str(tmp_path / "b.wav"), 3)
    assert found.modified == (tmp_path / "b.wav").stat().st_mtime_ns
    assert list(look_up([str(tmp_path), str(tmp_path / "none"), "a\0b", found.path])) == [None, None, None, found]
    with local_copy(found.path) as (path, digest):
        assert str(path) == found.path and digest == hashlib.sha256(b"123").hexdigest()
    with local_copy(str(tmp_path / "none.wav")) as (path, digest):
        assert digest == "" and path == tmp_path / "none.wav"
    (tmp_path / "b.wav").unlink()
    with pytest.raises(ValueError, match="holds no audio files"):
        list(audio_in(str(tmp_path)))
    assert not is_uri("C:/a.wav") and is_uri("file:///a.wav")
