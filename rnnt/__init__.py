"""rnnt: recurrent neural network transducers, from download to transcript."""

from importlib import import_module

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
