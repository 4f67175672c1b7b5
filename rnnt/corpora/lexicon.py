"""Words and their symbols, such as spellings and pronunciations: tables, and dictionaries in the CMU's format.

A table has a word and its symbols in each line, with a tab between them: `cat<TAB>k æ t`, as WikiPron and SIGMORPHON
have it. A file whose lines have no tabs is a dictionary: `CAT  K AE1 T`, with `READ(1)  R IY1 D` for a second
pronunciation and comments after `;;;` or `#`. A word with several pronunciations becomes several utterances with the
same input and the ids `read`, `read(2)`.
"""

import codecs
import hashlib
import re
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from unicodedata import normalize

from rnnt.corpora import Split, Utterance
from rnnt.tree import visible_paths

SPACE = "▁"  # stands for a space among output characters, as in SentencePiece's pieces
_COLUMNS = {"input", "output", "tags", "-"}
_UNITS = ("characters", "symbols")
_LONGEST_LINE = 1 << 16  # bytes
_FILE = re.compile(r"((?P<language>.+)[-_.])?(?P<split>train|dev|valid|test)(\.(tsv|txt|dict))?")
_VARIANT = re.compile(r"(.+)\(\d+\)")
_COMMENT = re.compile(r"^;;;.*|^#(\s.*)?$|\s#.*")


def splits(
    source: Path,
    language: str | None = None,
    split: str | None = None,
    dev: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
    columns: str = "input,output",
    input: str = "characters",
    output: str = "symbols",
) -> dict[str, Split]:
    """Find the words of a file, or of a folder of files for `train`, `dev` (or `valid`) and `test`.

    The files of a folder have names such as `train.tsv` or `dut_train.tsv`, and each gives the split of its name. If
    they are of several languages, `language` chooses one (`dut`). A single file gives `train`, or the split that its
    name ends with, or the split with the name `split`.

    `dev` and `test` are shares of the words to hold out as splits of these names. They are chosen by a hash of `seed`
    and the word, and all lines of a word are in the same split.

    `columns` names the columns of a table in order: `input` (the word), `output` (its symbols), `tags` (more input
    symbols, written after the word in angle brackets; semicolons or spaces are between them) and `-` (not used).
    `input` and `output` say whether these columns hold `characters`, or `symbols` with spaces between them. A space
    among the characters of the output is written as `▁`.

    Raises ValueError if nothing is found or an option's value makes no sense.
    """
    if not (dev >= 0 and test >= 0 and dev + test < 1):
        raise ValueError(f"dev and test are shares of the words, at least 0 and together below 1, not {dev} and {test}")
    table = _Table(columns, input, output)
    problems: dict[str, list[tuple[str, str]]] = {}
    entries: dict[str, list[str]] = {}
    for name, path in _files(source, language, split).items():
        entries[name] = table.read(path, problems.setdefault(name, []))
    for name, share in (("dev", dev), ("test", test)):
        if share and name in entries:
            raise ValueError(f"{name}={share}: {source} is the split {name!r} or holds it; leave the option out")
    if dev or test:
        if source.is_dir() and "train" not in entries:
            raise ValueError(f"{source}: has no training words of which dev and test could be shares")
        whole = "train" if source.is_dir() else next(iter(entries))
        entries |= _divided(entries[whole], whole, {"dev": dev, "test": test}, seed)
    return {name: Split(_Words(found, input), problems.get(name, ()), "symbols") for name, found in entries.items()}


def _files(source: Path, language: str | None, split: str | None) -> dict[str, Path]:
    """Return the files by the names of their splits."""
    if source.is_file():
        if language is not None:
            raise ValueError(f"language={language} chooses among the files of a folder; {source} is one file")
        match = _FILE.fullmatch(source.name)
        return {split or (match["split"] if match else "train"): source}
    if not source.is_dir():
        raise ValueError(f"{source}: no such file or folder")
    if split is not None:
        raise ValueError(f"split={split} names the split of a single file; those of {source} are named by its files")
    languages: dict[str, dict[str, Path]] = {}
    for path in visible_paths(source):
        if (match := _FILE.fullmatch(path.name)) and path.is_file():
            files = languages.setdefault(match["language"] or "", {})
            if match["split"] in files:
                raise ValueError(f"{path}: a second file for the split {match['split']!r}; prepare one of them alone")
            files[match["split"]] = path
    if not languages:
        raise ValueError(f"{source}: expected train.tsv, dev.tsv and test.tsv, or dut_train.tsv and so on; name a file")
    chosen = language or ("" if "" in languages else min(languages) if len(languages) == 1 else None)
    if chosen not in languages:
        names = sorted(filter(None, languages)) or ["no language"]
        raise ValueError(f"{source} holds {', '.join(names)}; choose one, as in language={names[0]}")
    return languages[chosen]


def _divided(entries: list[str], whole: str, shares: dict[str, float], seed: int) -> dict[str, list[str]]:
    """Divide entries into splits: `whole`, and those with a share. The order of the entries does not matter."""

    def key(entry: str) -> str:  # two spellings of one word in Unicode are one word
        return normalize("NFC", entry[: entry.index("\t")])

    words = sorted(set(map(key, entries)), key=lambda word: hashlib.sha256(f"{seed} {word}".encode()).digest())
    owners: dict[str, str] = {}
    for name, share in shares.items():
        first = len(owners)
        owners |= dict.fromkeys(words[first : first + max(round(share * len(words)), 1)] if share else (), name)
    if len(owners) >= len(words):
        raise ValueError(f"{len(words)} words are too few to hold some of them out; leave dev and test out")
    divided: dict[str, list[str]] = {whole: [], **{name: [] for name, share in shares.items() if share}}
    for entry in entries:
        divided[owners.get(key(entry), whole)].append(entry)
    return divided


class _Words(Sequence[Utterance]):
    """The utterances of entries. They are made when they are asked for, because a million of them take much memory.

    An entry is a text: the input, the tags and the output, with tabs between them.
    """

    def __init__(self, entries: list[str], unit: str) -> None:
        self._entries, self._unit = entries, unit
        names = [self._name(entry) for entry in entries]
        counts = dict.fromkeys(names, 0)
        self._numbers = array("l")  # 2 for the second utterance of the same word
        for name in names:
            number = counts[name] + 1
            while number > 1 and f"{name}({number})" in counts:  # a word that looks like this id
                number += 1
            counts[name] = number
            self._numbers.append(number)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Utterance:
        word, tags, text = self._entries[index].split("\t")
        name, number = self._name(self._entries[index]), self._numbers[index]
        identity = name if number == 1 else f"{name}({number})"
        return Utterance(identity, text, "", partial(_read, self._unit, word, tags))

    @staticmethod
    def _name(entry: str) -> str:
        word, tags, _ = entry.split("\t")
        return f"{word} {tags}" if tags else word


def _read(unit: str, word: str, tags: str, sample_rate: int) -> list[str]:
    """Return the input symbols of an utterance."""
    symbols = list(word) if unit == "characters" else word.split()
    return symbols + [f"<{tag}>" for tag in re.split(r"[;\s]+", tags) if tag] if tags else symbols


class _Table:
    """The columns of a table and their units."""

    def __init__(self, columns: str, input: str, output: str) -> None:
        self._columns = re.split(r"[\s,]+", columns.strip())
        named = [column for column in self._columns if column != "-"]
        if not {"input", "output"} <= set(named) <= _COLUMNS or len(set(named)) < len(named):
            raise ValueError(f"columns={columns}: name input and output, and others tags or -, as in input,-,output")
        if input not in _UNITS or output not in _UNITS:
            raise ValueError(f"input and output are {' or '.join(_UNITS)}, not {input!r} and {output!r}")
        self._input, self._output = input, output

    def read(self, path: Path, problems: list[tuple[str, str]]) -> list[str]:
        """Return the entries of a file, each once. Lines that make no sense are added to `problems`."""
        dictionary = self._columns == ["input", "output"] and self._input == "characters" and _has_no_tabs(path)
        places: dict[str, int] = {}  # by entry: its line
        faults: list[tuple[int, str]] = []
        for number, line in _lines(path):
            try:
                text = _text(line)
                if cells := _dictionary_cells(text) if dictionary else self._cells(text):
                    _add(self._entry(*cells), number, places, faults)
            except ValueError as error:
                faults.append((number, str(error)))
        if not dictionary:
            places = _join_variants(places, faults)
        problems += [(f"line {number}", fault) for number, fault in sorted(faults)]
        if not places and not problems:
            raise ValueError(f"{path}: is empty; expected a word, a tab and its symbols in each line")
        return list(places)

    def _cells(self, line: str) -> tuple[str, str, str] | None:
        """Return the input, the tags and the output of a line, or None for a blank line."""
        if not line.strip():
            return None
        cells = [cell.strip() for cell in line.split("\t")]
        while len(cells) > len(self._columns) and not cells[-1]:
            cells.pop()
        if len(cells) == 1:
            raise ValueError("has no tab between the word and its symbols")
        if len(cells) != len(self._columns):
            raise ValueError(
                f"has {len(cells)} columns, expected {','.join(self._columns)}; name all of them with columns="
            )
        named = dict(zip(self._columns, cells))
        return named["input"], named.get("tags", ""), named["output"]

    def _entry(self, word: str, tags: str, output: str) -> str:
        if not word or not output:
            raise ValueError("the output is empty" if word else "the input is empty")
        symbols = output.split()
        if self._output == "characters":
            if SPACE in output:
                raise ValueError(f"the output holds {SPACE}, which stands for a space")
            symbols = list(SPACE.join(symbols))
        return f"{word}\t{tags}\t{' '.join(symbols)}"


def _add(entry: str, number: int, places: dict[str, int], faults: list[tuple[int, str]]) -> None:
    if places.setdefault(entry, number) != number:
        faults.append((number, f"says the same as line {places[entry]}"))


def _join_variants(places: dict[str, int], faults: list[tuple[int, str]]) -> dict[str, int]:
    """Return the entries with the word `read` in place of `read(2)`, if both occur in the table."""
    variants = {entry for entry in places if _VARIANT.fullmatch(entry.partition("\t")[0])}
    if not variants:
        return places
    words = {entry.partition("\t")[0] for entry in places}
    joined: dict[str, int] = {}
    for entry, number in places.items():
        word, tab, rest = entry.partition("\t")
        base = _VARIANT.sub(r"\1", word) if entry in variants else word
        _add((base if base in words else word) + tab + rest, number, joined, faults)
    return joined


def _dictionary_cells(line: str) -> tuple[str, str, str] | None:
    """Return the word, no tags, and the symbols of a line of a dictionary, or None for a comment or a blank line."""
    if "\t" in line.strip():
        raise ValueError("has a tab, and most lines of the file have none; write all lines in one format")
    word, _, output = _COMMENT.sub("", line).strip().partition(" ")
    if not word:
        return None
    return (match[1] if (match := _VARIANT.fullmatch(word)) else word), "", output.strip()


def _has_no_tabs(path: Path) -> bool:
    """Return whether most lines of a file have no tab. Blank lines and comments do not count."""
    lines = [b"\t" in line.strip() for _, line in _lines(path) if line.strip() and not line.startswith(b";;;")]
    return 2 * sum(lines) < len(lines)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each line and its bytes. One that is too long ends after a byte too many."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE + 1):
            more = line
            while not more.endswith(b"\n") and (more := file.readline(_LONGEST_LINE)):
                pass
            number += 1
            yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def _text(line: bytes) -> str:
    """Return a line as text. Raises ValueError, with the mend, if it cannot be used."""
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"is longer than {_LONGEST_LINE} bytes")
    if b"\0" in line:
        raise ValueError("holds NUL characters; if the file is UTF-16, convert it to UTF-8")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8; `iconv -f latin1 -t utf-8 OLD > NEW` converts an old file") from None
