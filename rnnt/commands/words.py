"""The option `--text` of the verb `transcribe`: words on the command line or in files, and their outputs."""

import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import typer

from rnnt.commands.terminal import json_line, show
from rnnt.text import is_unicode, visible
from rnnt.threads import Threads, adapting

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer
    from rnnt.transduction import Transduction

_FORMATS = ("text", "json")
_TOGETHER = 8192  # words that are read before the first of them is decoded
_NAMED = 20  # unknown symbols that the note lists


class GivenWord(NamedTuple):
    """A word to decode. problem: the reason why it cannot be; empty if it can. place: where it stands."""

    text: str
    place: str
    problem: str = ""


def check_text_options(kind: str, out: Path | None) -> None:
    """Raise ValueError if an option of `transcribe` has no meaning with --text."""
    if kind not in _FORMATS:
        raise ValueError(f"--text has the formats {' and '.join(_FORMATS)}, not {kind!r}")
    if out is not None:
        raise ValueError("--out writes a file for each recording; with --text, send standard output to a file: > FILE")


def read_words(items: Sequence[str], standard_input: BinaryIO) -> Iterator[GivenWord]:
    """Yield the words that are given or stand in files, one a line. Blank lines are passed over.

    An item is `-`, for standard input; a file, if it holds a dot or a slash and a file has this name; or else a word.
    Raises ValueError or OSError if a file cannot be read.
    """
    files = [item for item in items if ("." in item or os.sep in item) and os.path.isfile(item)]
    for item in items:
        if item.endswith((".txt", ".tsv")) and item not in files:
            raise ValueError(f"{item}: no such file; a file of words has one in each line")
    for item in items:
        if item == "-":
            yield from _lines(standard_input, "standard input")
        elif item in files:
            with open(item, "rb") as file:
                yield from _lines(file, item)
        else:
            yield _checked(item, f"the word {visible(item[:20])!r}")


def print_outputs(
    recognizer: "Recognizer",
    words: Iterable[GivenWord],
    nbest: int | None,
    batch_size: int | None,
    kind: str,
    threads: Threads,
) -> None:
    """Decode words and print a line for each, in order. Raises typer.Exit if some could not be decoded.

    The symbols that the model does not know are named once, on standard error.
    """
    recognizer.require_input("symbols")
    failed = total = 0
    unknown: dict[str, str] = {}  # by symbol: the first word that has it
    words = (_with_problem(recognizer, word) for word in words)
    for block in adapting(iter(lambda: list(islice(words, _TOGETHER)), []), threads):
        good = [word.text for word in block if not word.problem]
        asked = kind == "json" or nbest is not None
        results = iter(recognizer.transduce(good, nbest or 1, batch_size, probabilities=asked))
        for word in block:
            total += 1
            if word.problem:
                failed += 1
                show(f"error: {word.place}: {word.problem}", file=sys.stderr)
                if kind == "json":
                    print(json_line({"input": word.text, "error": word.problem}), flush=True)
                continue
            result = next(results)
            for symbol in result.unknown:
                unknown.setdefault(symbol, word.text)
            if result.candidates[0].truncated:
                limit = "the output is truncated at decoding.max_symbols"
                show(f"warning: {word.place}: {limit}", file=sys.stderr)
            print(json_line(_record(result, nbest)) if kind == "json" else _lines_of(result, nbest), flush=True)
    if unknown:
        names = ", ".join(map(repr, list(unknown)[:_NAMED])) + (", ..." if len(unknown) > _NAMED else "")
        first = next(iter(unknown.values()))[:40]
        show(f"note: the model was not trained on {names} (first in {first!r}); the output is a guess", file=sys.stderr)
    if not total:
        raise ValueError("there are no words; give some, or a file of them")
    if failed:
        show(f"{failed} of {total} words could not be decoded", file=sys.stderr)
        raise typer.Exit(1 if failed < total else 2)


def _lines(file: BinaryIO, name: str) -> Iterator[GivenWord]:
    for number, line in enumerate(file, 1):
        place = f"{name}, line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            shown = line.decode("utf-8", "replace").strip()
            yield GivenWord(shown, place, f"is not UTF-8 text (byte {error.start}); convert it to UTF-8")
            continue
        if text:
            yield _checked(text, place)


def _checked(text: str, place: str) -> GivenWord:
    text = text.strip()
    if not text:
        return GivenWord(text, place, "is empty")
    if not is_unicode(text):
        return GivenWord(text.encode(errors="replace").decode(), place, "is not UTF-8 text; convert it to UTF-8")
    if "\t" in text:
        return GivenWord(text, place, "holds a tab; give the word alone, as cut -f1 does")
    for character in text:
        if unicodedata.category(character) == "Cc":
            return GivenWord(text, place, f"holds the control character U+{ord(character):04X}; remove it")
    return GivenWord(text, place)


def _with_problem(recognizer: "Recognizer", word: GivenWord) -> GivenWord:
    """Return the word, with the problem if the model cannot read it."""
    from rnnt.transduction import MOST_INPUT_SYMBOLS, split_text

    count = 0 if word.problem else len(split_text(recognizer.alphabet, word.text))
    if count <= MOST_INPUT_SYMBOLS:
        return word
    return word._replace(
        text=word.text[:40] + "...", problem=f"has {count} symbols, more than {MOST_INPUT_SYMBOLS}; split it"
    )


def _lines_of(result: "Transduction", nbest: int | None) -> str:
    word = visible(result.input)
    if nbest is None:
        return f"{word}\t{visible(result.text)}"
    return "\n".join(f"{word}\t{each.probability:.6f}\t{visible(each.text)}" for each in result.candidates)


def _record(result: "Transduction", nbest: int | None) -> dict:
    best = result.candidates[0]
    record = {"input": result.input, "text": best.text, "probability": best.probability, "truncated": best.truncated}
    if nbest is not None:
        record["nbest"] = [{"text": each.text, "probability": each.probability} for each in result.candidates]
    return record | {"unknown": result.unknown}
