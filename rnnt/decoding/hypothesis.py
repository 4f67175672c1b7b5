"""A result of decoding."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """A possible transcript of one utterance, and where and how probably each of its symbols was emitted.

    tokens: the symbols. frames: for each symbol the encoder frame that emitted it, counted from the start of the
    utterance or stream. log_probs: for each symbol its log-probability, given the frames and the symbols before it.
    score: log-probability of the whole path, blanks included. In beam search, that of the symbols: the sum over all
    paths found that emit them; frames and log_probs are then those of the best path.
    truncated: a limit on the number of symbols was met before the last frame was done. The rest is missing.
    total: `score` and the scores of all scorers, by which beam search ranks hypotheses; None in greedy search.
    """

    tokens: list[int]
    frames: list[int]
    log_probs: list[float]
    score: float
    truncated: bool = False
    total: float | None = None
