"""The result of transcribing or aligning an utterance. Nothing here needs torch."""

from dataclasses import dataclass, field


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
class Transcript:
    """The text of an utterance or a recording.

    For each token: the encoder frame that emitted it, that frame's time in seconds, and the token's log-probability
    given all before it. truncated: `decoding.max_symbols` was reached before the end; the rest of the text is missing.
    words: when each word was said, in order. symbols: the same for each token. Unlike `times`, these are estimates of
    when the sounds begin and end: a model emits a token some time before or after its sound.

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

    def __post_init__(self):
        for name, kind in (("words", Word), ("symbols", Symbol)):  # which JSON holds as dictionaries
            items = [kind(**item) if isinstance(item, dict) else item for item in getattr(self, name)]
            object.__setattr__(self, name, items)
