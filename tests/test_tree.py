import os
from pathlib import Path

import pytest

from rnnt.tree import distinct_folders, find_files, visible_paths


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(root, paths):
    return [path.relative_to(root).as_posix() for path in paths]


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    root = tmp_path / ".hidden"  # named by the user, so it is read
    make(root, "b", "a/1", "._b", ".Trash-1000/files/old", "$RECYCLE.BIN/old", "a/.DS_Store", "a/.git/x")
    assert names(root, visible_paths(root)) == ["a", "b"]
    assert names(root, find_files(root).files) == ["a/1", "b"]


def test_each_folder_is_read_once(tmp_path):
    """Through links that lead to each other, in a circle, upwards, to themselves, or nowhere."""
    root = tmp_path / "root"
    make(tmp_path, "root/a/1", "root/b/2", "far/3", "far/deep/4")
    for link, target in {
        "root/0-first": "root/b",
        "root/far": "far",
        "root/z-again": "far/deep",
        "root/a/up": "root",
        "root/above": ".",
        "far/back": "root",
        "far/deep/same": "far/deep",
        "root/self": "root/self",
        "root/nowhere": "gone",
        "root/slash": "/",
    }.items():
        (tmp_path / link).symlink_to(tmp_path / target)
    tree = find_files(root)
    assert names(root, tree.files) == ["a/1", "b/2", "far/3", "far/deep/4", "nowhere", "self"]
    assert not tree.unreadable
    assert names(root, sorted(tree.repeated)) == [
        "0-first", "a/up", "above", "far/back", "far/deep/same", "slash", "z-again"
    ]  # fmt: skip
    assert tree.repeated[root / "0-first"] == f"{root}/0-first: is the same folder as {root}/b, which is read already"
    assert tree.repeated[root / "above"] == f"{root}/above: is a link to a folder that holds {root}"
    (tmp_path / "link").symlink_to(root)
    assert len(find_files(tmp_path / "link").files) == 6


def test_depth(tmp_path):
    make(tmp_path, "1", "a/2", "a/b/3", "a/b/c/4")
    for depth, expected in enumerate([["1"], ["1", "a/2"], ["1", "a/2", "a/b/3"]]):
        assert names(tmp_path, find_files(tmp_path, depth).files) == expected


def test_a_folder_that_cannot_be_read_does_not_stop_the_others(tmp_path, monkeypatch):
    make(tmp_path, "a/1", "b/2")
    whole = Path.iterdir

    def iterdir(path):
        if path.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    tree = find_files(tmp_path)
    assert names(tmp_path, tree.files) == ["b/2"]
    assert list(tree.unreadable) == [tmp_path / "a"] and "Permission denied" in tree.unreadable[tmp_path / "a"]


@pytest.mark.parametrize("other", ["../d/a", "a/", "./a", "link", "a/../a", "deep/link"])
def test_one_folder_by_two_paths_counts_once(tmp_path, monkeypatch, other):
    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "b").mkdir()
    (tmp_path / "d" / "deep").mkdir()
    (tmp_path / "d" / "link").symlink_to("a")
    (tmp_path / "d" / "deep" / "link").symlink_to("../link")
    monkeypatch.chdir(tmp_path / "d")
    assert distinct_folders(map(Path, ("a", "b", other))) == [Path("a"), Path("b")]
    assert distinct_folders(map(Path, (os.path.abspath("b"), other, "b", "a"))) == [tmp_path / "d" / "b", Path(other)]


def test_folders_that_do_not_exist_are_kept(tmp_path):
    paths = [tmp_path / "gone", tmp_path / "x" / ".." / "gone", tmp_path / "other", Path("zero\0byte")]
    assert distinct_folders(paths) == [paths[0], paths[2], paths[3]]
