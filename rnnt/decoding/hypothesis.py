"""A result of decoding."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """A possible transcript of one utterance, and where and how probably each of its symbols was emitted.

    tokens: the symbols. frames: for each symbol the encoder frame that emitted it, counted from the start of the
    utterance or stream. log_probs: for each symbol its log-probability, given the frames and the symbols before it.
    score: log-probability of the whole path, blanks included.
    truncated: a limit on the number of symbols was met before the last frame was done. The rest is missing.
    """

    tokens: list[int]
    frames: list[int]
    log_probs: list[float]
    score: float
    truncated: bool = False
