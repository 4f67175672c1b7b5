"""Subtitles: the words of a transcript as cues that can be read on a screen."""

from collections.abc import Sequence
from dataclasses import dataclass

from rnnt.transcript import Word

MOST_CHARACTERS = 42  # of a line; of at most two lines
MOST_SECONDS = 7.0  # that a cue is shown
_LEAST_SECONDS = 1.0  # that a cue is shown, if the next one does not begin earlier
_PAUSE_SECONDS = 1.0  # a cue ends at a pause of this length
_LATE_SHARE = 0.4  # a cue that must end before the text does keeps at least this share of the words that fit


@dataclass(frozen=True)
class Cue:
    """One or two lines of text, shown from `start` to `end` in seconds."""

    start: float
    end: float
    lines: list[str]


@dataclass(frozen=True)
class _Piece:
    """A word, or a stretch of a word that is too long for a line or a cue. joined: no space comes before it."""

    text: str
    start: float
    end: float
    joined: bool = False


def cues_of(words: Sequence[Word], seconds: float) -> list[Cue]:
    """Return the cues of words, in order; no two overlap.

    seconds: of the recording. A line has at most 42 characters, a cue two lines and 7 seconds. A cue ends at each pause
    of a second. Text that has none for too long is divided at the longest pause among the later words that fit.
    Words without any text are left out.
    """
    pieces = [piece for word in words for piece in _pieces(word)]
    cues: list[tuple[float, float, list[str]]] = []
    start = 0
    while start < len(pieces):
        end = _fitting(pieces, start)
        if end < len(pieces) and pieces[end].start - pieces[end - 1].end < _PAUSE_SECONDS:
            first = start + max(1, round(_LATE_SHARE * (end - start)))
            end = max(range(first, end + 1), key=lambda i: (_pause(pieces, i), i))
        shown = pieces[start:end]
        cues.append((shown[0].start, shown[-1].end, _lines(shown)))
        start = end
    following = [*(start for start, _, _ in cues[1:]), max(seconds, cues[-1][1])] if cues else []
    result = []
    for (start, end, lines), limit in zip(cues, following):
        last = min(max(end, start + _LEAST_SECONDS), max(end, limit), start + MOST_SECONDS)
        result.append(Cue(start, last, lines))
    return result


def _pieces(word: Word) -> list[_Piece]:
    text = word.word
    if not text:
        return []
    count = max(-(-len(text) // MOST_CHARACTERS), int((word.end - word.start) // MOST_SECONDS) + 1)
    count = min(count, len(text))
    places = [round(i * len(text) / count) for i in range(count + 1)]
    times = [word.start + (word.end - word.start) * place / len(text) for place in places]
    return [
        _Piece(text[first:end], start, stop, first > 0)
        for first, end, start, stop in zip(places, places[1:], times, times[1:])
    ]


def _pause(pieces: Sequence[_Piece], i: int) -> float:
    """Return the pause before a piece, in hundredths of a second. Within a word it is less than nothing."""
    return -1.0 if pieces[i].joined else round(100 * (pieces[i].start - pieces[i - 1].end))


def _fitting(pieces: Sequence[_Piece], start: int) -> int:
    """Return the place after the last piece that fits into a cue which begins with piece `start`."""
    lines, line = 1, 0
    for i in range(start, len(pieces)):
        piece = pieces[i]
        if i > start and (
            piece.end - pieces[start].start > MOST_SECONDS or piece.start - pieces[i - 1].end >= _PAUSE_SECONDS
        ):
            return i
        longer = line + len(piece.text) + (line > 0 and not piece.joined)
        if longer > MOST_CHARACTERS:
            lines, longer = lines + 1, len(piece.text)
        if lines > 2:
            return i
        line = longer
    return len(pieces)


def _lines(pieces: Sequence[_Piece]) -> list[str]:
    """Return the text of pieces on one line if it fits, or on two whose lengths differ as little as possible."""
    whole = _text(pieces)
    if len(whole) <= MOST_CHARACTERS:
        return [whole]
    halves = [(_text(pieces[:i]), _text(pieces[i:])) for i in range(1, len(pieces))]
    return list(min(halves, key=lambda lines: max(map(len, lines))))


def _text(pieces: Sequence[_Piece]) -> str:
    return "".join(piece.text if piece.joined else f" {piece.text}" for piece in pieces).removeprefix(" ")
