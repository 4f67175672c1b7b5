"""What a request may steer its decoding with: hot words, and a language model that the server has by name."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from rnnt.decoding.decoder import Decoder, configured_decoder
from rnnt.decoding.fusion import Fusion, fuse
from rnnt.decoding.hotwords import hot_words
from rnnt.model_folder import find_models

if TYPE_CHECKING:
    from rnnt.decoding.scorer import Scorer
    from rnnt.recognizer import Recognizer

_KEPT = 64  # sets of hot words whose scorers are kept for later requests
_MOST_PHRASES, _MOST_CHARACTERS = 1000, 50_000


class Steering:
    """Makes the decoders of requests. Safe in several threads.

    lms: language models by the names that requests use. Raises ValueError if one of them does not fit the model.
    """

    def __init__(self, recognizer: Recognizer, folder: Path, lms: Mapping[str, Fusion] | None = None):
        self.recognizer = recognizer
        self._lms: dict[str, Scorer] = {}
        for name, fusion in (lms or {}).items():
            parts = find_models(folder)[0], recognizer.tokenizer, recognizer.model, recognizer.device
            self._lms[name] = fuse(fusion, *parts)
        self._hotwords: OrderedDict[tuple[str, ...], Scorer] = OrderedDict()
        self._lock = Lock()

    @property
    def lms(self) -> list[str]:
        """The names of the language models."""
        return sorted(self._lms)

    def scorers(self, hotwords: Sequence[str] = (), lm: str = "") -> dict[str, Scorer]:
        """Return the scorers of a request, and those that the server was started with.

        Raises ValueError if there is no such language model, or the model cannot spell a hot word.
        """
        found = dict(self.recognizer.scorers)
        if lm:
            if lm not in self._lms:
                known = ", ".join(self.lms) or "none"
                raise ValueError(f"there is no language model {lm[:100]!r}; this server has: {known}")
            found["lm"] = self._lms[lm]
        if hotwords:
            found["hotwords"] = self._hot_words(tuple(hotwords))
        return found

    def decoder(self, hotwords: Sequence[str] = (), lm: str = "") -> Decoder:
        """Return the decoder of a stream. Raises ValueError as `scorers`."""
        return configured_decoder(self.recognizer.config.decoding, self.scorers(hotwords, lm))

    def steered(self, scorers: Mapping[str, Scorer]) -> Recognizer:
        """Return a recognizer that decodes with these scorers, and shares the model."""
        other = copy.copy(self.recognizer)
        other.scorers = dict(scorers)
        return other

    def _hot_words(self, phrases: tuple[str, ...]) -> Scorer:
        if len(phrases) > _MOST_PHRASES or sum(map(len, phrases)) > _MOST_CHARACTERS:
            raise ValueError(
                f"a request may have {_MOST_PHRASES:,} hot words of {_MOST_CHARACTERS:,} characters in all"
            )
        with self._lock:
            scorer = self._hotwords.pop(phrases, None)
        if scorer is None:
            scorer = hot_words(phrases, self.recognizer.tokenizer, self.recognizer.device)
        with self._lock:
            self._hotwords[phrases] = scorer  # the latest is the last
            if len(self._hotwords) > _KEPT:
                self._hotwords.popitem(last=False)
        return scorer
