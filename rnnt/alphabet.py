"""The symbols that a model reads in place of audio, such as the letters of words, and their numbers."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from rnnt.files import write_file
from rnnt.text import read_text

FILE = "alphabet.json"
_MOST_BYTES = 64 << 20  # of an alphabet's file
_LONGEST_SYMBOL = 1000  # characters


class Alphabet:
    """Numbers input symbols. Symbol i of `symbols` has the number i; all others share the last number, `unknown`.

    unicode: the normal form in which symbols are looked up, "nfd", "nfc" or "none" (see `normalized`). Raises
    ValueError if the symbols are not distinct, not in that form, or if there are none.

    >>> alphabet = Alphabet(["a", "c", "t"], "nfd")
    >>> alphabet.encode(["c", "a", "b"]).tolist()
    [1, 0, 3]
    """

    def __init__(self, symbols: Sequence[str], unicode: str):
        self.symbols, self.unicode = list(symbols), unicode
        if not self.symbols or not all(isinstance(symbol, str) and symbol for symbol in self.symbols):
            raise ValueError("an alphabet needs at least one symbol, and none may be empty")
        self._numbers = {symbol: number for number, symbol in enumerate(self.symbols)}
        if len(self._numbers) != len(self.symbols):
            raise ValueError("the symbols of an alphabet must be distinct")
        if max(map(len, self.symbols)) > _LONGEST_SYMBOL:
            raise ValueError(f"the symbols of an alphabet must have at most {_LONGEST_SYMBOL} characters")

    def __len__(self) -> int:
        """Return the number of symbols, with `unknown`."""
        return len(self.symbols) + 1

    @property
    def unknown(self) -> int:
        """The number of every symbol that is not in the alphabet."""
        return len(self.symbols)

    def encode(self, symbols: Iterable[str]) -> np.ndarray:
        """Return the numbers of input symbols, int32 (S,). Normalisation may make them more or fewer than the input."""
        found = [self._numbers.get(symbol, self.unknown) for symbol in normalized(symbols, self.unicode)]
        return np.array(found, np.int32)

    def lacking(self, symbols: Iterable[str]) -> list[str]:
        """Return the symbols, in their normal form, that the alphabet lacks. They are sorted and distinct."""
        return sorted({symbol for symbol in normalized(symbols, self.unicode) if symbol not in self._numbers})

    @property
    def fingerprint(self) -> str:
        """Digest of the symbols and their form: alphabets with the same one encode every input alike."""
        return hashlib.sha256(json.dumps([self.unicode, self.symbols]).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `alphabet.json` into a folder."""
        content = {"unicode": self.unicode, "symbols": self.symbols}
        write_file(folder / FILE, json.dumps(content, ensure_ascii=False, indent=1))


def normalized(symbols: Iterable[str], unicode: str) -> list[str]:
    """Return input symbols in a Unicode normal form: "nfd", "nfc" or "none", which leaves them as they are.

    Neighbouring symbols of one character are normalised together and then split into characters: the letter é becomes
    two symbols in NFD, and a letter and a combining accent become one in NFC. A longer symbol, such as a phone or a
    tag, is normalised by itself and stays one symbol.

    >>> normalized(["\\u00e9", "tag"], "nfd") == ["e", "\\u0301", "tag"]
    True
    """
    if unicode == "none":
        return list(symbols)
    found: list[str] = []
    for single, group in groupby(symbols, lambda symbol: len(symbol) == 1):
        if single:
            found += unicodedata.normalize(unicode.upper(), "".join(group))
        else:
            found += [unicodedata.normalize(unicode.upper(), symbol) for symbol in group]
    return found


def learn_alphabet(inputs: Iterable[Sequence[str]], unicode: str) -> Alphabet:
    """Return the alphabet of all symbols in the training inputs. Raises ValueError if they hold none."""
    found: set[str] = set()
    for symbols in inputs:
        found.update(normalized(symbols, unicode))
    if not found:
        raise ValueError("the training inputs are empty: there is no symbol to learn an alphabet from")
    return Alphabet(sorted(found), unicode)


def load_alphabet(folder: str | Path) -> Alphabet:
    """Read the alphabet in the folder of a model or a run. Raises ValueError if there is none or it is damaged."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no {FILE}, which a model that reads symbols needs; copy the whole folder again"
        )
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} is too large for an alphabet: more than {_MOST_BYTES >> 20} MiB")
    try:
        content = json.loads(read_text(path))
        if content["unicode"] not in ("nfd", "nfc", "none"):
            raise ValueError
        return Alphabet(content["symbols"], content["unicode"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is damaged or no alphabet; copy the model's folder again") from None
