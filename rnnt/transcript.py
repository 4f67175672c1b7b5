"""The result of transcribing or aligning an utterance. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

Timed = TypeVar("Timed", "Word", "Symbol")


@dataclass(frozen=True)
class Word:
    """A word of a transcript, from `start` to `end` in seconds. confidence: the probability that it is right."""

    word: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Symbol:
    """A token of a transcript as text, from `start` to `end` in seconds, and the probability that it is right."""

    symbol: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording that was decoded at once, from `start` to `end` in seconds.

    truncated: its text was ended early by `decoding.max_symbols`.
    """

    start: float
    end: float
    text: str
    truncated: bool = False


@dataclass(frozen=True)
class Transcript:
    """The text of an utterance or a recording.

    For each token: the encoder frame that emitted it, that frame's time in seconds, and the token's log-probability
    given all before it. truncated: `decoding.max_symbols` was reached before the end of a segment; the rest of its text
    is missing.
    words: when each word was said, in order. symbols: the same for each token. Unlike `times`, these are estimates of
    when the sounds begin and end: a model emits a token some time before or after its sound.

    segments: the stretches with words, in order. left_out: [start, end] in seconds of each stretch that was taken for
    silence or another sound without words. Together they cover the recording. error: why the recording could not be
    read to its end; the text is that of the `seconds` before.

    >>> transcript = Transcript("hi", [7, 8], [3, 5], [0.18, 0.3], [-0.1, -0.02], seconds=0.9)
    >>> f"{transcript.text!r} begins at {transcript.times[0]} s of {transcript.seconds} s"
    "'hi' begins at 0.18 s of 0.9 s"
    """

    text: str
    tokens: list[int]
    frames: list[int]
    times: list[float]
    log_probs: list[float]
    seconds: float  # of audio
    truncated: bool = False
    words: list[Word] = field(default_factory=list)
    symbols: list[Symbol] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    left_out: list[list[float]] = field(default_factory=list)
    error: str | None = None

    def __post_init__(self):
        for name, kind in (
            ("words", Word),
            ("symbols", Symbol),
            ("segments", Segment),
        ):  # which JSON holds as dictionaries
            items = [kind(**item) if isinstance(item, dict) else item for item in getattr(self, name)]
            object.__setattr__(self, name, items)


def join_segments(
    parts: Sequence[tuple[float, float, int, Transcript]], seconds: float, error: str | None = None
) -> Transcript:
    """Return the transcript of a recording, given those of its segments.

    parts: of each segment in order, its start and end in seconds, the number of encoder frames before it, and its
    transcript. Segments without words are left out. seconds: of the whole recording.
    """
    spoken = [(start, end, part) for start, end, _, part in parts if part.tokens]
    bounds = [0.0, *(bound for start, end, _ in spoken for bound in (start, end)), seconds]
    return Transcript(
        " ".join(part.text for _, _, part in spoken if part.text),
        [token for *_, part in parts for token in part.tokens],
        [first + frame for _, _, first, part in parts for frame in part.frames],
        [round(start + time, 3) for start, _, _, part in parts for time in part.times],
        [log_prob for *_, part in parts for log_prob in part.log_probs],
        seconds,
        any(part.truncated for *_, part in parts),
        [_later(word, start) for start, *_, part in parts for word in part.words],
        [_later(symbol, start) for start, *_, part in parts for symbol in part.symbols],
        [Segment(start, end, part.text, part.truncated) for start, end, part in spoken],
        [[start, end] for start, end in zip(bounds[::2], bounds[1::2]) if start < end],
        error,
    )


def _later(item: Timed, seconds: float) -> Timed:
    return replace(item, start=round(item.start + seconds, 3), end=round(item.end + seconds, 3))
