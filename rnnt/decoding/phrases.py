"""Phrases that a recogniser is to favour: reading them, and spelling them in a model's symbols."""

import re
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rnnt.text import one_line, read_lines, visible
from rnnt.tokenizer import Tokenizer, UnknownSymbolError

WEIGHT = 0.5  # of a phrase without a weight after it
_LETTER = 0.25  # symbols that a letter counts as in a model of characters: a piece has about four letters
_MOST_WEIGHT = 1000.0
_LONGEST = 500  # characters of a phrase
_NAMED = 3  # phrases that a message names
_WEIGHTED = re.compile(r"(.*?)(?:^|\s):(\S+)")
_IN_WORDS = frozenset("'’-&@#%_/")  # punctuation that does not end a word
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")  # scripts without spaces between words


@dataclass(frozen=True)
class Phrase:
    """A phrase and its weight: the bonus for each of its symbols, in nats; for four of them if symbols are letters."""

    text: str
    weight: float = WEIGHT


@dataclass(frozen=True)
class Spelling:
    """A phrase as the model writes it.

    text: UTF-8 bytes, with a space for each boundary of words, also at the ends. bonus: for each letter, in nats.
    """

    text: bytes
    bonus: float


def read_phrases(path: str | Path) -> list[Phrase]:
    """Read a file of phrases, one a line, with a weight after it or without: `new york :2.5` (as in sherpa-onnx).

    Raises ValueError that names the file and the line if a weight is not a positive number, or if there is no phrase.
    """
    try:
        phrases = parse_phrases(read_lines(Path(path)), f"{path}: line")
    except FileNotFoundError:
        raise ValueError(f"no file of hot words {path}") from None
    if not phrases:
        raise ValueError(f"{path} holds no hot words; write one phrase a line")
    return phrases


def parse_phrases(lines: Iterable[str], where: str = "hot word") -> list[Phrase]:
    """Return the phrase of each line that is not empty. where: names a line in messages, before its number.

    >>> parse_phrases(["new york", "", "jersey :2.5"])
    [Phrase(text='new york', weight=0.5), Phrase(text='jersey', weight=2.5)]
    """
    phrases = []
    for number, line in enumerate(lines, 1):
        text, weight = one_line(line), WEIGHT
        if found := _WEIGHTED.fullmatch(text):
            text, weight = found[1], _weight(found[2], f"{where} {number}")
        if len(text) > _LONGEST:
            raise ValueError(f"{where} {number} has {len(text):,} characters; a phrase has at most {_LONGEST}")
        if text:
            phrases.append(Phrase(text, weight))
        elif found:
            raise ValueError(f"{where} {number} has a weight but no phrase")
    return phrases


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= _MOST_WEIGHT:
        shown = visible(text[:20])
        raise ValueError(f"{where}: the weight :{shown} must be a number above 0 and at most {_MOST_WEIGHT:g}")
    return weight


def spell_phrases(phrases: Iterable[Phrase], tokenizer: Tokenizer) -> list[Spelling]:
    """Spell each phrase as the tokenizer does.

    The bonus of all symbols that the tokenizer divides the phrase into is shared among its letters, so another division
    into symbols gets the same bonus. A phrase that has no spelling is tried in lower case, then in capitals, and
    a warning says so. Raises ValueError that names the phrases that cannot be spelled.
    """
    texts = tokenizer.spellings
    spaced = any(b" " in text for text in texts)
    counts = [_count_symbols(word_letters(text), tokenizer.kind) for text in texts]
    spellings, respelled, unknown = [], [], []
    for phrase in phrases:
        for text in dict.fromkeys((phrase.text, phrase.text.lower(), phrase.text.upper())):
            try:
                tokens = tokenizer.encode(text)
            except UnknownSymbolError:
                continue
            letters = word_letters(b"".join(texts[token] for token in tokens)).strip()
            if not letters:
                continue
            bonus = phrase.weight * sum(counts[token] for token in tokens) / count_letters(letters)
            ends = [spaced and not _is_unspaced(text[end]) for end in (0, -1)]
            spellings.append(Spelling(b" " * ends[0] + letters + b" " * ends[1], bonus))
            if text != phrase.text:
                respelled.append(text)
            break
        else:
            unknown.append(phrase.text)
    if unknown:
        phrase = "this phrase" if len(unknown) == 1 else f"these {len(unknown):,} phrases"
        raise ValueError(f"the model's symbols cannot spell {phrase}: {_list(unknown)}; leave out or respell")
    if respelled:
        why = "because the model lacks the letters"
        warnings.warn(f"hot words are spelled in another case, {why}: {_list(respelled)}", stacklevel=4)
    return spellings


def word_letters(text: bytes) -> bytes:
    """Return a text in which each boundary of words is a space: white space, and punctuation that is not in words."""
    try:
        characters = text.decode()
    except UnicodeDecodeError:  # a symbol may be a part of a character
        return text
    return "".join(" " if _is_boundary(character) else character for character in characters).encode()


def count_letters(text: bytes) -> int:
    """Return the number of characters that are no spaces."""
    return sum(is_letter(byte) for byte in text)


def is_letter(byte: int) -> bool:
    """Return whether a byte begins a character other than a space."""
    return byte != 0x20 and byte & 0xC0 != 0x80


def _count_symbols(letters: bytes, kind: str) -> float:
    """Return the number of symbols that one symbol counts as: a boundary as none, a letter as less than one."""
    letters = letters.strip()
    if kind == "characters" and letters and not _is_unspaced(letters.decode()[0]):
        return _LETTER
    return float(bool(letters))


def _is_boundary(character: str) -> bool:
    if character in _IN_WORDS:
        return False
    return character.isspace() or unicodedata.category(character).startswith("P")


def _is_unspaced(character: str) -> bool:
    return unicodedata.name(character, "").startswith(_UNSPACED)


def _list(texts: list[str]) -> str:
    more = f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    return ", ".join(f"'{visible(text)}'" for text in texts[:_NAMED]) + more
