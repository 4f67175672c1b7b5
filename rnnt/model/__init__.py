"""The transducer's networks: encoder, predictor, joint."""

from rnnt.model.transducer import Transducer

__all__ = ["Transducer"]
