"""Search for the transcript of an utterance."""

from rnnt.decoding.greedy import Greedy, greedy
from rnnt.decoding.hypothesis import Hypothesis
from rnnt.decoding.search import Search

__all__ = ["Greedy", "Hypothesis", "Search", "greedy"]
