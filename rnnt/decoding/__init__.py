"""Search for the transcript of an utterance."""

from rnnt.decoding.beam import Beam, beam
from rnnt.decoding.greedy import Greedy, greedy
from rnnt.decoding.hypothesis import Hypothesis
from rnnt.decoding.scorer import Scorer
from rnnt.decoding.search import Search

__all__ = ["Beam", "Greedy", "Hypothesis", "Scorer", "Search", "beam", "greedy"]
