"""The transducer's networks: encoder, predictor, joint."""

from rnnt.model.ensemble import Ensemble
from rnnt.model.transducer import Transducer

__all__ = ["Ensemble", "Transducer"]
