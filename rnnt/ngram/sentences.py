"""The sentences of text files, as symbols of a tokenizer or as words that it can spell."""

import gzip
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from rnnt.dataset import Dataset
from rnnt.ngram.counts import FIRST_WORD
from rnnt.ngram.vocabulary import symbol_names
from rnnt.text import visible
from rnnt.tokenizer import Tokenizer, UnknownSymbolError

_LONGEST_LINE = 1 << 20  # bytes
_QUOTES = str.maketrans("‘’", "''")


class Sentences:
    """Reads the sentences of texts, one a line, and spells them with a tokenizer. Every pass reads the files again.

    texts: UTF-8 files, perhaps compressed by gzip, and prepared splits. A line that the tokenizer cannot encode is
    changed: capitals to small letters or the reverse, curly apostrophes to straight ones, other punctuation to spaces.
    A line that it still cannot encode is left out.

    Attributes, of the last pass: `read`, the number of sentences; `changed`, how many of them were changed; `left_out`,
    how many more lines were left out; `first_left_out`, the place of the first one and why.
    """

    def __init__(self, texts: Sequence[Path], tokenizer: Tokenizer):
        self.texts, self.tokenizer = list(texts), tokenizer
        self._names = symbol_names(tokenizer)
        self._table = _Table(tokenizer)
        self._forget()

    def _forget(self) -> None:
        self.read = self.changed = self.left_out = 0
        self.first_left_out = ""

    def symbols(self) -> Iterator[np.ndarray]:
        """Yield the symbols of each sentence, counted from FIRST_WORD."""
        return (np.array(tokens, np.uint32) + FIRST_WORD for tokens in self._encoded())

    def words(self) -> Iterator[list[str]]:
        """Yield the words of each sentence, as the tokenizer writes them."""
        return (self.tokenizer.decode(tokens).split() for tokens in self._encoded())

    def _encoded(self) -> Iterator[list[int]]:
        self._forget()
        for path, number, line in chain.from_iterable(map(_lines, self.texts)):
            try:
                tokens = self._encode(line)
                unnamed = [token for token in tokens if not self._names[token]]
                if unnamed:
                    shown = " ".join(repr(self.tokenizer.decode([token])) for token in unnamed[:3])
                    raise UnknownSymbolError(f"cannot be in an n-gram: {shown}")
            except UnknownSymbolError as error:
                self.left_out += 1
                self.first_left_out = self.first_left_out or f"{path}:{number}: {error}"
                continue
            if tokens:
                self.read += 1
                yield tokens

    def _encode(self, line: str) -> list[int]:
        try:
            return self.tokenizer.encode(line)
        except UnknownSymbolError:
            pass
        *others, last = self._table.variants(line)
        for variant in others:
            try:
                tokens = self.tokenizer.encode(variant)
                break
            except UnknownSymbolError:
                pass
        else:
            tokens = self.tokenizer.encode(last)
        self.changed += 1
        return tokens


class _Table(dict):
    """Replaces characters that a tokenizer does not cover by similar ones: `text.translate(_Table(tokenizer))`."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    def variants(self, line: str) -> list[str]:
        """Return forms of a line that the tokenizer may be able to encode."""
        line = unicodedata.normalize("NFC", line)
        if self.tokenizer.kind != "words":
            return [line.translate(self)]
        bare = "".join(" " if _is_punctuation(x) and x != "'" else x for x in line.translate(_QUOTES))
        return [line.lower(), line.upper(), bare.lower(), bare.upper(), bare]

    def __missing__(self, code: int) -> str:
        character = chr(code)
        found = [x for x in (character, character.lower(), character.upper()) if all(map(self.tokenizer.covers, x))]
        if not found and character in "‘’" and self.tokenizer.covers("'"):
            found = ["'"]
        self[code] = found[0] if found else " " if _is_punctuation(character) else character
        return self[code]


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] == "P"


def _lines(path: Path) -> Iterator[tuple[Path, int, str]]:
    """Yield the lines of a text and their numbers. Raises ValueError that names the file and the line if one is bad."""
    if path.is_dir():
        yield from ((path, number, text) for number, text in enumerate(Dataset(path).texts(), 1))
        return
    number = 0
    try:
        with open(path, "rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as file:
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if len(line) == _LONGEST_LINE:
                    raise ValueError(f"{path}:{number}: the line is longer than 1 MiB; write one sentence a line")
                yield path, number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}:{number}: is not UTF-8 text; convert the file to UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: the compressed file is truncated or damaged ({visible(str(error))})") from None
