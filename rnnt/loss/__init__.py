"""Transducer losses: exact, over all alignments."""

from rnnt.loss.dense import rnnt_loss
from rnnt.loss.transducer import transducer_loss

__all__ = ["rnnt_loss", "transducer_loss"]
