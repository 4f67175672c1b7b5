"""The result of transcribing an utterance. Nothing here needs torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Transcript:
    """The text of an utterance or a recording.

    For each token: the encoder frame that emitted it, that frame's time in seconds, and the token's log-probability
    given all before it. truncated: `decoding.max_symbols` was reached before the end; the rest of the text is missing.

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
