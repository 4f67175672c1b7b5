"""rnnt: recurrent neural network transducers, from download to transcript."""

from rnnt.loss import rnnt_loss, transducer_loss
from rnnt.recognizer import Recognizer, Transcript, load

__all__ = ["Recognizer", "Transcript", "load", "rnnt_loss", "transducer_loss"]
