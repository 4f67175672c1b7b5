"""rnnt: recurrent neural network transducers, from download to transcript."""
