"""Search for the transcript of an utterance."""

from rnnt.decoding.greedy import Hypothesis, greedy

__all__ = ["Hypothesis", "greedy"]
