"""Transcripts as text in the formats of other programs: JSON, subtitles, CTM and TextGrid.

Subtitles need the package pysubs2 and TextGrids the package praatio: pip install 'rnnt[formats]'.
"""

import json
import math
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from statistics import fmean
from types import ModuleType

from rnnt.subtitles import cues_of
from rnnt.text import one_line
from rnnt.transcript import Transcript, Word

# What the name of a file in each format ends in.
SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt", "ctm": ".ctm", "textgrid": ".TextGrid"}
_LIBRARIES = {"srt": "pysubs2", "vtt": "pysubs2", "textgrid": "praatio.utilities.textgrid_io"}
UNSURE = 0.5  # a word of less confidence was probably not said like this
_LEAST_SECONDS = 0.001  # that an interval of a TextGrid lasts
_BACKSLASH = "\ufdd0"  # stands for one while pysubs2, which obeys it, writes; no text may hold this character


def check_format(kind: str) -> None:
    """Raise ValueError if there is no format of this name, or ImportError if the package that it needs is missing."""
    if kind not in SUFFIXES:
        raise ValueError(f"there is no format {kind!r}; choose one of {', '.join(SUFFIXES)}")
    if kind in _LIBRARIES:
        _library(kind)


def to_format(transcript: Transcript, kind: str, name: str) -> str:
    """Return the content of a transcript's file in the format `kind`, a key of `SUFFIXES`. name: of the recording.

    Raises as `check_format` does.

    >>> print(to_format(Transcript("hi", [7], [3], [0.18], [-0.1], seconds=0.9), "text", "recording"), end="")
    hi
    """
    check_format(kind)
    if kind == "text":
        return to_text(transcript)
    if kind == "json":
        return json.dumps(to_record(transcript), ensure_ascii=False, indent=1) + "\n"
    if kind == "ctm":
        return to_ctm(transcript, name)
    return {"srt": to_srt, "vtt": to_vtt, "textgrid": to_textgrid}[kind](transcript)


def to_text(transcript: Transcript) -> str:
    """Return the text, a line for each segment."""
    return "".join(f"{_plain(segment['text'])}\n" for segment in _segments(transcript))


def to_table(transcript: Transcript) -> str:
    """Return a line for each word: start, end, confidence, a question mark if that is below a half, and the word."""
    lines = []
    for word in _words(transcript):
        mark = "?" if word.confidence < UNSURE else ""
        lines.append(f"{word.start:.3f}\t{word.end:.3f}\t{word.confidence:.3f}\t{mark}\t{word.word}\n")
    return "".join(lines)


def to_record(transcript: Transcript) -> dict:
    """Return what JSON is to hold: the fields of OpenAI's verbose_json, and all of the transcript's own.

    Verbose_json's `language`, `temperature` and `no_speech_prob` are left out, because the model does not tell them.
    `seek` is the start of a segment in hundredths of a second. The `confidence` of a segment is the mean of its words'.
    """
    record = {"task": "transcribe", "duration": transcript.seconds, **asdict(transcript)}
    if record.get("error") is None:
        record.pop("error", None)
    return _finite({**record, "segments": list(_segments(transcript))})


def to_srt(transcript: Transcript) -> str:
    """Return SubRip subtitles. Text that a player would take for markup or times gets an invisible character in it."""
    # The format has no escapes. U+2060, the word joiner, has no width, and no line is broken at it.
    guard = re.compile(r"<(?=[\s/a-zA-Z])|\{(?=\\)|--(?=>)|\d:\d\d?:(?=\d\d?[.,]\d)")
    return _subtitles(transcript, "srt", lambda line: guard.sub("\\g<0>\u2060", line))


def to_vtt(transcript: Transcript) -> str:
    """Return WebVTT subtitles."""
    return _subtitles(transcript, "vtt", _escape_markup)


def to_ctm(transcript: Transcript, name: str) -> str:
    """Return a CTM file: name of the recording, channel, start, duration, word and confidence of each word.

    White space in a name or a word becomes an underscore.
    """
    recording = re.sub(r"^;", "_", "_".join(_plain(name).split())) or "_"  # a line of ;; is a comment
    lines = []
    for word in _words(transcript):
        text = "_".join(word.word.split())
        length = max(word.end - word.start, 0.0)
        lines.append(f"{recording} 1 {word.start:.3f} {length:.3f} {text} {word.confidence:.6f}\n")
    return "".join(lines)


def to_textgrid(transcript: Transcript) -> str:
    """Return a TextGrid of Praat with the tiers `words` and `symbols`. Symbols that are spaces are left out."""
    textgrid_io = _library("textgrid")
    tiers = {
        "words": [(word.start, word.end, word.word) for word in _words(transcript)],
        "symbols": [(x.start, x.end, _plain(x.symbol)) for x in transcript.symbols if _plain(x.symbol)],
    }
    placed = {name: _intervals(items) for name, items in tiers.items()}
    last = max([transcript.seconds, _LEAST_SECONDS, *(items[-1][1] for items in placed.values() if items)])
    tree = {
        "xmin": 0,
        "xmax": last,
        "tiers": [
            {"class": "IntervalTier", "name": name, "xmin": 0, "xmax": last, "entries": list(items)}
            for name, items in placed.items()
        ],
    }
    return textgrid_io.getTextgridAsStr(tree, "long_textgrid", includeBlankSpaces=True)


def _library(kind: str) -> ModuleType:
    """Return the module that writes a format."""
    try:
        return import_module(_LIBRARIES[kind])
    except ImportError:
        package = _LIBRARIES[kind].partition(".")[0]
        raise ImportError(f"the format {kind} needs the package {package}: pip install 'rnnt[formats]'") from None


def _plain(text: str) -> str:
    """Return the text on one line, without control characters and halves of characters."""
    kept = (" " if unicodedata.category(character) in ("Cc", "Cs") else character for character in text)
    return one_line("".join(kept))


def _words(transcript: Transcript) -> list[Word]:
    """Return the words that have text, on one line each. Raises ValueError if the text has no words with times."""
    words = [replace(word, word=_plain(word.word)) for word in transcript.words]
    words = [word for word in words if word.word]
    if not words and _plain(transcript.text):
        raise ValueError("this transcript has a text but no times of words; choose the format text or json")
    return words


def _segments(transcript: Transcript) -> Iterable[dict]:
    """Yield the segments of a transcript as JSON holds them. One that was decoded at once is one segment."""
    segments = [asdict(segment) for segment in transcript.segments]
    if not segments and transcript.text:
        segments = [{"start": 0.0, "end": transcript.seconds, "text": transcript.text}]
    limits = [segment["start"] - 0.001 for segment in segments[1:]]  # times are rounded to a thousandth
    limits.append(math.inf)
    token, word = 0, 0
    for number, (segment, limit) in enumerate(zip(segments, limits)):
        first_token, first_word = token, word
        while token < len(transcript.tokens) and transcript.times[token] < limit:
            token += 1
        while word < len(transcript.words) and transcript.words[word].start < limit:
            word += 1
        text = segment["text"].encode("utf-8", "backslashreplace")
        yield {
            "id": number,
            "seek": round(100 * segment["start"]),
            **segment,
            "tokens": transcript.tokens[first_token:token],
            "avg_logprob": _mean(transcript.log_probs[first_token:token]),
            "compression_ratio": round(len(text) / len(zlib.compress(text)), 4) if text else None,
            "confidence": _mean([each.confidence for each in transcript.words[first_word:word]]),
        }


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 6) if values else None


def _finite(value):
    """Return a tree with null in place of numbers that JSON lacks."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _subtitles(transcript: Transcript, kind: str, escape: Callable[[str], str]) -> str:
    pysubs2 = _library(kind)
    file = pysubs2.SSAFile()
    for cue in cues_of(_words(transcript), transcript.seconds):
        lines = (escape(line).replace("\\", _BACKSLASH) for line in cue.lines)
        start, end = (round(1000 * seconds) for seconds in (cue.start, cue.end))
        file.append(pysubs2.SSAEvent(start=start, end=max(end, start + 1), text="\\N".join(lines)))
    # Braces stay text only if pysubs2 is told to keep its tags.
    return file.to_string(kind, keep_ssa_tags=True).replace(_BACKSLASH, "\\")


def _escape_markup(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _intervals(items: Iterable[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Return intervals in order that do not overlap and last a thousandth of a second at least, as Praat demands."""
    placed: list[tuple[float, float, str]] = []
    for start, end, label in items:
        start = max(start, placed[-1][1] if placed else 0.0)
        placed.append((round(start, 3), round(max(end, start + _LEAST_SECONDS), 3), label))
    return placed
