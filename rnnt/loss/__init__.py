"""Transducer losses, exact sums over all alignments, and the scores of lattice nodes that they are computed from."""

from rnnt.loss.dense import rnnt_loss
from rnnt.loss.penalties import Penalties
from rnnt.loss.scores import node_scores
from rnnt.loss.transducer import transducer_loss

__all__ = ["Penalties", "node_scores", "rnnt_loss", "transducer_loss"]
