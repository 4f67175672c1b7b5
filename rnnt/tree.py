"""Trees of folders: the files in a folder at all depths, and folders that are the same one by another path."""

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rnnt.text import reason

_DELETED = "$recycle.bin"  # where Windows keeps deleted files; other systems use hidden folders, such as .Trash-1000


@dataclass(frozen=True)
class Tree:
    """The files of a folder at all depths, sorted, and the folders in it that were not read.

    Both dictionaries hold a reason for each folder: why it could not be read, and which folder it repeats.
    """

    files: list[Path]
    unreadable: dict[Path, str]
    repeated: dict[Path, str]


def visible_paths(folder: Path) -> list[Path]:
    """Return the files and folders in `folder`, sorted, without hidden ones (their names begin with a dot).

    A Mac writes hidden files next to others (`._name`), and systems keep deleted files in hidden folders. Raises
    OSError if the folder cannot be read.
    """
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name.lower() != _DELETED)


def find_files(folder: Path, depth: int | None = None) -> Tree:
    """Find the files in `folder`, without hidden files and those in hidden folders.

    depth: how many levels of folders are entered; all by default. Linked folders are entered. If several paths lead to
    one folder, it is read once, by a path without a link if there is one. A link to a folder that holds `folder` is not
    entered. A link that leads nowhere counts as a file: reading it gives the reason.
    """
    root = folder.resolve()
    tree = Tree([], {}, {})
    seen: dict[tuple[int, int], Path] = {}
    folders, links = deque([folder]), deque()
    while folders or links:
        current = folders.popleft() if folders else links.popleft()  # links last, so that paths without links win
        try:
            earlier = seen.setdefault(_identity(current), current)
            if earlier != current:
                tree.repeated[current] = f"{current}: is the same folder as {earlier}, which is read already"
                continue
            if current != folder and root.is_relative_to(current.resolve()):
                tree.repeated[current] = f"{current}: is a link to a folder that holds {folder}"
                continue
            entered = len(current.relative_to(folder).parts)
            for path in visible_paths(current):
                if not os.path.isdir(path):
                    tree.files.append(path)
                elif depth is None or entered < depth:
                    (links if path.is_symlink() else folders).append(path)
        except OSError as error:
            tree.unreadable[current] = reason(error, limit=None)
    tree.files.sort()
    return tree


def distinct_folders(folders: Iterable[Path]) -> list[Path]:
    """Return the folders in order, each once. Several paths, also through links, may lead to the same folder.

    >>> distinct_folders([Path("."), Path("missing"), Path("../") / Path.cwd().name, Path("missing")])
    [PosixPath('.'), PosixPath('missing')]
    """
    chosen: dict[tuple[int, int] | Path, Path] = {}
    for folder in folders:
        try:
            key = _identity(folder)
        except (OSError, ValueError):  # opening it gives the reason
            key = Path(os.path.abspath(folder))
        chosen.setdefault(key, folder)
    return list(chosen.values())


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
