r"""ARPA files: n-grams of words with log-probabilities and backoff weights, as text.

Such a file has a header `\data\` with the number of n-grams of each order, a section `\1-grams:`, `\2-grams:`, ... with
a line `log10 probability, words, log10 backoff weight` for each n-gram, and `\end\`.
"""

import gzip
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rnnt.files import naming, replacing
from rnnt.text import visible

MAX_ORDER = 10
LONGEST_LINE = 1 << 20  # bytes
_BLOCK = 1 << 16  # lines that are read at once
_SHOWN = 60  # characters of a line in a message


@dataclass(frozen=True)
class Arpa:
    """The contents of an ARPA file.

    words: those of the unigrams. ngrams: for each order n an array (count, n) of indices into `words`. log10_probs,
    log10_backoffs: for each order an array (count,); a backoff weight that is not in the file is 0. first_lines: for
    each order the line of its first n-gram; the others follow without gaps.
    """

    path: str
    words: list[str]
    ngrams: list[np.ndarray]
    log10_probs: list[np.ndarray]
    log10_backoffs: list[np.ndarray]
    first_lines: list[int]

    def complain(self, order: int, row: int, problem: str) -> ValueError:
        """Return an error about an n-gram, which names the file and the line."""
        return ValueError(f"{self.path}:{self.first_lines[order - 1] + row}: {problem}")


def read_arpa(path: Path) -> Arpa:
    """Read an ARPA file of order 1 to 10, compressed by gzip if it begins like it.

    Raises ValueError that names the file and the line if the file is truncated, is not UTF-8, has other counts than its
    header says, or holds a word that is no unigram, a log-probability that is positive, or a number that is not finite.
    """
    try:
        with open(path, "rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as file:
            found = _Reader(path, file).read()
            while packed and file.read(1 << 20):
                pass  # gzip compares its checksum at the end
            return found
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: the compressed file is truncated or damaged ({error}); fetch it again") from None


class _Reader:
    """Reads lines and remembers the number of the last one."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self.file = path, file
        self.line = 0

    def problem(self, what: str, line: int | None = None) -> ValueError:
        return ValueError(f"{self.path}:{self.line if line is None else line}: {what}")

    def next(self) -> bytes:
        """Return the next line that is not empty, without white space at its ends."""
        while True:
            line = self.file.readline(LONGEST_LINE)
            self.line += 1
            if not line:
                raise self.problem(r"the file ends before its \end\; it is truncated: fetch or write it again")
            if text := line.strip():
                return text

    def read(self) -> Arpa:
        while True:
            line = self.file.readline(LONGEST_LINE)
            self.line += 1
            if not line:
                raise self.problem(r"the file has no line \data\, so it is no ARPA file")
            if line.strip() == b"\\data\\":
                break
        counts, line = self._counts()
        index: dict[bytes, int] = {}
        words: list[str] = []
        sections, first_lines = [], []
        for order, count in enumerate(counts, 1):
            if line != b"\\%d-grams:" % order:
                raise self.problem(f"expected \\{order}-grams:, found {_shown(line)}")
            first_lines.append(self.line + 1)
            rows, line = self._section(order, count, index, words)
            sections.append(rows)
        if line != b"\\end\\":
            raise self.problem(rf"expected \end\, found {_shown(line)}")
        ngrams, probs, backoffs = (list(part) for part in zip(*sections))
        return Arpa(str(self.path), words, ngrams, probs, backoffs, first_lines)

    def _counts(self) -> tuple[list[int], bytes]:
        """Read the lines `ngram ORDER=COUNT`, and the line after them."""
        counts: list[int] = []
        while True:
            line = self.next()
            found = re.fullmatch(rb"ngram\s+(\d{1,3})\s*=\s*(\d{1,18})", line)
            if not found:
                break
            order, count = map(int, found.groups())
            if order != len(counts) + 1:
                raise self.problem(f"expected ngram {len(counts) + 1}=COUNT, found {_shown(line)}: an order is missing")
            if order > MAX_ORDER:
                raise self.problem(f"n-grams of order {order}; at most {MAX_ORDER} can be read")
            counts.append(count)
        if not counts:
            raise self.problem(f"expected ngram 1=COUNT, found {_shown(line)}")
        return counts, line

    def _section(
        self, order: int, count: int, index: dict[bytes, int], words: list[str]
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], bytes]:
        """Read the n-grams of an order, and the line after them. Unigrams are added to `index` and `words`."""
        ngrams, probs, backoffs = [], [], []
        left = count
        while left:
            lines = list(islice(self.file, min(left, _BLOCK)))
            fields = [line.split() for line in lines]
            if order == 1:
                self._add_words(fields, index, words)
            try:
                block = self._block(order, fields, index)
            except (ValueError, KeyError, IndexError):
                block = None
            if block is None or len(lines) < min(left, _BLOCK):
                raise self._first_problem(order, count - left, count, fields, index)
            ngrams.append(block[0])
            probs.append(block[1])
            backoffs.append(block[2])
            self.line += len(lines)
            left -= len(lines)
        line = self.next()
        if not line.startswith(b"\\"):
            raise self.problem(f"more than the {count:,} {order}-grams that the header says")
        if not count:
            return (np.zeros((0, order), np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32)), line
        return (np.concatenate(ngrams), np.concatenate(probs), np.concatenate(backoffs)), line

    def _add_words(self, fields: list[list[bytes]], index: dict[bytes, int], words: list[str]) -> None:
        for row, parts in enumerate(fields):
            if len(parts) not in (2, 3):
                return  # the caller finds the problem
            line = self.line + 1 + row
            try:
                word = parts[1].decode()
            except UnicodeDecodeError:
                raise self.problem("is not UTF-8 text; convert the file to UTF-8", line) from None
            if index.setdefault(parts[1], len(words)) != len(words):
                raise self.problem(f"the 1-gram {_shown(parts[1])} is there twice", line)
            words.append(word)

    @staticmethod
    def _block(
        order: int, fields: list[list[bytes]], index: dict[bytes, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Return the arrays of some lines, or None if one of them is bad. May raise instead of returning None."""
        if not all(order + 1 <= len(parts) <= order + 2 for parts in fields):
            return None
        probs = np.array([float(parts[0]) for parts in fields], np.float32)
        backoffs = np.array([float(parts[-1]) if len(parts) > order + 1 else 0.0 for parts in fields], np.float32)
        ngrams = np.array([index[word] for parts in fields for word in parts[1 : order + 1]], np.int32)
        good = np.isfinite(probs).all() and np.isfinite(backoffs).all() and not (probs > 0).any()
        return (ngrams.reshape(-1, order), probs, backoffs) if good else None

    def _first_problem(
        self, order: int, done: int, count: int, fields: list[list[bytes]], index: dict[bytes, int]
    ) -> ValueError:
        """Return the error about the first bad one of these lines, or about the end of the file."""
        for row, parts in enumerate(fields):
            line = self.line + 1 + row
            if not parts or parts[0].startswith(b"\\"):
                says = f"the header says {count:,} {order}-grams, and here are {done + row:,}"
                return self.problem(f"{says}; the file is truncated or was edited", line)
            problem = _problem(order, parts, index)
            if problem:
                return self.problem(problem, line)
        says = f"the file ends after {done + len(fields):,} of {count:,} {order}-grams"
        return self.problem(f"{says}; it is truncated: fetch or write it again", self.line + len(fields))


def _problem(order: int, parts: list[bytes], index: dict[bytes, int]) -> str:
    """Return what is wrong with a line of an n-gram, or nothing."""
    try:
        b" ".join(parts).decode()
    except UnicodeDecodeError:
        return "is not UTF-8 text; convert the file to UTF-8"
    if not order + 1 <= len(parts) <= order + 2:
        return f"expected a number, {order} words and perhaps a number, found {_shown(b' '.join(parts))}"
    for place, name in ((0, "log-probability"), (order + 1, "backoff weight")):
        if place == len(parts):
            continue
        try:
            value = float(parts[place])
        except ValueError:
            return f"the {name} {_shown(parts[place])} is no number"
        if not math.isfinite(value) or not math.isfinite(np.float32(value)):
            return f"the {name} is {value}; it must be finite (-99 stands for no probability)"
        if value > 0 and place == 0:
            return f"the log-probability {value} is positive"
    for word in parts[1 : order + 1]:
        if word not in index:
            return f"{_shown(word)} is not among the 1-grams"
    return ""


def _shown(text: bytes) -> str:
    return repr(visible(text.decode(errors="replace"))[:_SHOWN])


def write_arpa(path: Path, counts: list[int], lines: Iterable[Iterator[str]]) -> None:
    """Replace an ARPA file; it is compressed if its name ends in .gz.

    counts: of the n-grams of each order. lines: for each order its lines, with line feeds; they may come in blocks.
    """
    with naming(path), replacing(path) as file:
        out = gzip.GzipFile("", "wb", 6, file, mtime=0) if path.suffix == ".gz" else file
        out.write(("\\data\\\n" + "".join(f"ngram {n}={count}\n" for n, count in enumerate(counts, 1))).encode())
        for order, blocks in enumerate(lines, 1):
            out.write(f"\n\\{order}-grams:\n".encode())
            for block in blocks:
                out.write(block.encode())
        out.write(b"\n\\end\\\n")
        if out is not file:
            out.close()
