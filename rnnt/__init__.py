"""rnnt: recurrent neural network transducers, from download to transcript."""

import os
from importlib import import_module

# Intel's MKL reads it at its first product: the same bits whatever the number of threads, which may change while the
# program runs (rnnt/threads.py). Measured cost on a CPU with AVX-512: 0 to 4 %.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

_HOMES = {
    "Recognizer": "rnnt.recognizer",
    "Transcript": "rnnt.transcript",
    "load": "rnnt.recognizer",
    "rnnt_loss": "rnnt.loss",
    "transducer_loss": "rnnt.loss",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    """Import a public name when it is first used: preparing data need not wait seconds for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rnnt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
