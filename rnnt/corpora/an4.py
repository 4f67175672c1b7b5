"""CMU AN4 (recorded about 1991): 1,078 utterances of spelled names, numbers and commands by 84 speakers.

The original layout has etc/an4_train.transcription and etc/an4_test.transcription, with lines such as
`<s> GO FORWARD </s> (an251-fash-b)`, and the audio of each utterance in a file of its name below wav/: NIST SPHERE
(an251-fash-b.sph), headerless (.raw; 16 kHz, 16 bits, in either byte order), or another format that `read_audio` knows.

The other layout is a table transcripts.tsv with the columns path, text, speaker and split (train, dev or test). A table
word_times.tsv next to it, with the columns path, word, start_s and end_s, may hold the times of the words.

The split `dev` has eight speakers of the training part: their 100 utterances are the first in the order of speakers,
which ESPnet's recipe (egs2/an4/asr1/local/data.sh) sets aside as train_dev.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from rnnt.audio import AUDIO_SUFFIXES, read_audio, resample, to_pcm
from rnnt.corpora import Split, Utterance
from rnnt.corpora.manifest import Entry, distinct, to_seconds
from rnnt.progress import Display
from rnnt.text import one_line, read_lines
from rnnt.tree import find_files

DEV_SPEAKERS = "fash fbbh fclc fejs ffmm fjam fjdn fjmd"
UTTERANCES = {"train": 848, "dev": 100, "test": 130}

_LINE = re.compile(r"(?:<s>\s)?(.*?)(?:</s>)?\s*\(([^\s()-]+-([^\s()-]+)-[^\s()-]+)\)")  # text, name and speaker in it
_TABLE = ("path", "text", "speaker", "split")
_TIMES = ("path", "word", "start_s", "end_s")
_RAW, _RAW_RATE = ".raw", 16000
_MOST_AFTER = 0.1  # seconds that a word may end after the audio, because times are rounded

_Problems = list[tuple[str, str]]


def splits(source: Path) -> dict[str, Split]:
    """Find AN4 in `source`, or in `source/an4`, in either layout. Texts are in lower case.

    Utterances without audio or text are listed as problems. A line on standard error says if there are fewer
    utterances than in AN4. Raises ValueError for another layout, and if a transcript or a column of a table is missing.
    """
    if not source.is_dir():
        raise ValueError(f"{source}: {'is not a folder; unpack it' if source.exists() else 'no such folder'}")
    for root in (source, source / "an4"):
        if any((root / "etc").glob("an4_*.transcription")):
            found = _original(root)
        elif (root / "transcripts.tsv").is_file():
            found = _tables(root)
        else:
            continue
        _say_if_incomplete(source, {split: len(found[split].utterances) for split in UTTERANCES if split in found})
        return found
    raise ValueError(
        f"{source}: expected AN4's layout, etc/an4_train.transcription and wav/an4_clstk/<speaker>/*.sph, "
        "or a table transcripts.tsv"
    )


def _original(root: Path) -> dict[str, Split]:
    tree = find_files(root / "wav") if (root / "wav").is_dir() else None
    if tree is None:
        raise ValueError(f"{root}: lacks the folder wav with AN4's audio")
    problems: dict[str, _Problems] = {split: [] for split in UTTERANCES}
    for path, why in {**tree.unreadable, **tree.repeated}.items():
        problems["train"].append((path.relative_to(root).as_posix(), why))
    audio: dict[str, list[Path]] = {}
    for path in tree.files:
        if path.suffix.lower() in (*AUDIO_SUFFIXES, _RAW):
            audio.setdefault(path.stem, []).append(path)
    entries: dict[str, list[Entry]] = {split: [] for split in UTTERANCES}
    named: set[str] = set()
    for part in ("train", "test"):
        transcript = root / "etc" / f"an4_{part}.transcription"
        for place, name, speaker, text in _lines(root, transcript, problems[part]):
            split = "dev" if part == "train" and speaker in DEV_SPEAKERS.split() else part
            named.add(name)
            if name in audio:
                utterance = Utterance(name, text, speaker, partial(_read, min(audio[name], key=_preference)))
                entries[split].append(Entry(utterance, name, place))
            else:
                problems[split].append((name, f"{root / 'wav'}: has no audio of this name, which {transcript} names"))
    for name in sorted(audio.keys() - named):
        for path in audio[name]:
            part = "test" if "test" in path.parent.parent.name else "train"
            problems[part].append((name, f"{path}: is in neither of AN4's transcripts"))
    return _in_order(entries, problems)


def _lines(root: Path, transcript: Path, problems: _Problems) -> Iterator[tuple[str, str, str, str]]:
    """Yield the place, name, speaker and text of each line of a transcript. Lines that make no sense are problems."""
    if not transcript.is_file():
        raise ValueError(f"{root}: lacks AN4's transcript {transcript.relative_to(root)}")
    for number, line in enumerate(read_lines(transcript), 1):
        place = f"{transcript.name} line {number}"
        if fields := _LINE.fullmatch(line.strip()):
            yield place, fields[2], fields[3], one_line(fields[1]).lower()
        elif line.strip():
            problems.append((place, f"{transcript}: is not a text and a name, such as GO (an251-fash-b)"))


def _tables(root: Path) -> dict[str, Split]:
    """Return the splits of transcripts.tsv and word_times.tsv."""
    entries: dict[str, list[Entry]] = {split: [] for split in UTTERANCES}
    problems: dict[str, _Problems] = {split: [] for split in UTTERANCES}
    times: dict[str, list[dict[str, str]]] = {}
    if (root / "word_times.tsv").is_file():
        for _, row in _rows(root / "word_times.tsv", _TIMES, problems["train"]):
            times.setdefault(row["path"], []).append(row)
    for place, row in _rows(root / "transcripts.tsv", _TABLE, problems["train"]):
        split, text, path = row["split"], one_line(row["text"]).lower(), root / row["path"]
        if split not in UTTERANCES:
            problems["train"].append((place, f"split is {split!r}; it must be one of {', '.join(UTTERANCES)}"))
            continue
        try:
            known = _check_times(text, times.get(row["path"], []))
        except ValueError as error:
            problems[split].append((path.stem, f"{root / 'word_times.tsv'}: {error}"))
            continue
        read = partial(_read, path, end=max((end for _, _, end in known), default=0.0))
        utterance = Utterance(path.stem, text, row["speaker"], read, known)
        entries[split].append(Entry(utterance, row["path"], place))
    return _in_order(entries, problems)


def _rows(path: Path, columns: tuple[str, ...], problems: _Problems) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the place and the cells by column of each row of a table. Rows with too few or many cells are problems."""
    first, *lines = read_lines(path)
    names = [name.strip() for name in first.split("\t")]
    if missing := [name for name in columns if name not in names]:
        raise ValueError(f"{path}: lacks the column {missing[0]}; its first line must name {', '.join(columns)}")
    for number, line in enumerate(lines, 2):
        place = f"{path.name} line {number}"
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) == len(names):
            yield place, dict(zip(names, cells))
        elif line.strip():
            problems.append((place, f"{path}: has {len(cells)} columns in this line in place of {len(names)}"))


def _check_times(text: str, rows: list[dict[str, str]]) -> tuple[tuple[str, float, float], ...]:
    """Return the times of a text's words in seconds, given their rows of word_times.tsv, which may be none.

    Raises ValueError if they are not those of the words, in order.
    """
    words = " ".join(row["word"].lower() for row in rows)
    if rows and words != text:
        raise ValueError(f"has the words {words!r}, but the text is {text!r}")
    times: list[tuple[str, float, float]] = []
    for row in rows:
        start, end = (to_seconds(row[name], name) for name in ("start_s", "end_s"))
        if start is None or end is None or not (times[-1][2] if times else 0) <= start < end:
            raise ValueError(
                f"{row['word']!r} from {row['start_s']} to {row['end_s']} s is not after the word before it, or ends "
                "before it begins"
            )
        times.append((row["word"].lower(), start, end))
    return tuple(times)


def _preference(path: Path) -> tuple[bool, Path]:
    """Prefer files that say their format."""
    return path.suffix.lower() == _RAW, path


def _in_order(entries: dict[str, list[Entry]], problems: dict[str, _Problems]) -> dict[str, Split]:
    """Return the splits that hold anything, in the order of speakers and ids."""
    found = {}
    for split, listed in entries.items():
        ordered = sorted(listed, key=lambda entry: (entry.utterance.speaker, entry.utterance.id))
        utterances = distinct(ordered, problems[split])
        if utterances or problems[split]:
            found[split] = Split(utterances, problems[split])
    return found


def _read(path: Path, sample_rate: int, end: float = 0.0) -> np.ndarray:
    """Read audio with or without a header. end: that of the last word in seconds, which must be in it."""
    samples = _read_raw(path, sample_rate) if path.suffix.lower() == _RAW else read_audio(path, sample_rate)
    seconds = len(samples) / sample_rate
    if end > seconds + _MOST_AFTER:
        raise ValueError(f"{path}: is {seconds:.2f} s long, but its last word ends at {end:.2f} s")
    return samples


def _read_raw(path: Path, sample_rate: int) -> np.ndarray:
    """Read 16-bit samples without a header. The byte order is the one in which the samples vary less."""
    content = path.read_bytes()
    if len(content) % 2 or not content:
        raise ValueError(f"{path}: has {len(content)} bytes, which are no 16-bit samples; it may be truncated")
    orders = (np.frombuffer(content, order).astype(np.float32) / 32768 for order in (">i2", "<i2"))
    samples = min(orders, key=lambda x: float(np.abs(np.diff(x)).sum()))
    return to_pcm(resample(samples, _RAW_RATE, sample_rate))


def _say_if_incomplete(source: Path, counts: dict[str, int]) -> None:
    """Print a line on standard error if a split has fewer utterances than in AN4."""
    fewer = [
        f"{count} of {UTTERANCES[split]} in {split}" for split, count in counts.items() if count < UTTERANCES[split]
    ]
    if fewer:
        with Display() as display:
            how = f"utterances: {', '.join(fewer)}"
            display.note(f"{source}: is not all of AN4, so results on it cannot be compared with others' ({how})")
