"""A decoder by its name: a search, its width, and what steers it, such as beam:4+lm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from rnnt.config import DecodingConfig
from rnnt.decoding.beam import Beam
from rnnt.decoding.duration_beam import DurationBeam
from rnnt.decoding.durations import DurationGreedy
from rnnt.decoding.greedy import Greedy
from rnnt.decoding.hypothesis import Hypothesis
from rnnt.decoding.scorer import Scorer
from rnnt.decoding.search import Search
from rnnt.model import Transducer
from rnnt.settings import choose_decoding

# The scorers that a name may ask for, and what the user gives to have them.
_SCORERS = {"lm": "a language model; give --lm FILE", "hotwords": "hot words; give --hotwords FILE"}


@dataclass(frozen=True)
class Decoder:
    """The settings of a search and the scorers that steer it.

    name: says which, such as greedy or beam:4+lm.
    """

    name: str
    config: DecodingConfig
    scorers: tuple[Scorer, ...] = ()

    @property
    def width(self) -> int:
        """The most hypotheses that it finds for an utterance."""
        return self.config.beam if self.config.method == "beam" else 1

    def make_search(self, model: Transducer) -> Search:
        """Return the search itself, for streams."""
        beam = self.config.method == "beam"
        if model.joint.durations:
            search = DurationBeam if beam else DurationGreedy
        else:
            search = Beam if beam else Greedy
        return search(model, self.config, self.scorers)

    def search(
        self, model: Transducer, encoder_BTD: torch.Tensor, lengths: torch.Tensor, max_symbols: torch.Tensor
    ) -> list[list[Hypothesis]]:
        """Decode whole utterances: encoder frames (B, T, D) with lengths (B,) -> hypotheses of each, best first.

        max_symbols: each utterance's limit (B,).
        """
        search = self.make_search(model)
        return search.finish(search.advance(search.start(len(encoder_BTD), max_symbols), encoder_BTD, lengths))

    def winners(
        self, model: Transducer, encoder_BTD: torch.Tensor, lengths: torch.Tensor, max_symbols: torch.Tensor
    ) -> list[Hypothesis]:
        """Do as `search`, and return the best hypothesis of each utterance. Its score may be too low."""
        search = self.make_search(model)
        state = search.advance(search.start(len(encoder_BTD), max_symbols), encoder_BTD, lengths)
        return search.winners(state) if isinstance(search, Beam) else [best for best, *_ in search.finish(state)]


def configured_decoder(config: DecodingConfig, scorers: Mapping[str, Scorer] | None = None) -> Decoder:
    """Return the decoder of the settings, with scorers by their names (lm, hotwords)."""
    scorers = scorers or {}
    search = f"beam:{config.beam}" if config.method == "beam" else config.method
    return Decoder("+".join((search, *scorers)), config, tuple(scorers.values()))


def parse_decoders(
    texts: Sequence[str], config: DecodingConfig, scorers: Mapping[str, Scorer] | None = None
) -> list[Decoder]:
    """Return the decoders that are named like beam:4+lm: a search for `choose_decoding`, and scorers.

    config: what the names leave open. scorers: those that a name may ask for, by lm and hotwords.
    Raises ValueError if a name is unknown, asks for a scorer that is not there, or names the same decoder again, or if
    no name asks for a scorer that is there.
    """
    decoders: dict[str, str] = {}
    found = []
    for text in texts:
        decoder = _parse(text, config, scorers or {})
        if decoder.name in decoders:
            same = "" if decoders[decoder.name] == text else f" (as {decoders[decoder.name]})"
            raise ValueError(f"--decoding {text[:100]} is given twice{same}; leave one of them out")
        decoders[decoder.name] = text[:100]
        found.append(decoder)
    for name in scorers or {}:
        if not any(name in text.split("+") for text in texts):
            example = f"{next(iter(texts), 'beam')[:100]}+{name}"
            raise ValueError(f"no --decoding has +{name}; give, for example, --decoding {example}")
    return found


def _parse(text: str, config: DecodingConfig, scorers: Mapping[str, Scorer]) -> Decoder:
    search, *names = text.split("+")
    for name in names:
        if name not in _SCORERS or names.count(name) > 1:
            raise ValueError(
                f"no decoding {text[:100]!r}; after greedy or beam:8 may come +lm and +hotwords, once each"
            )
        if name not in scorers:
            raise ValueError(f"--decoding {text[:100]} needs {_SCORERS[name]}")
    config = choose_decoding(search, config)
    return configured_decoder(config, {name: scorers[name] for name in _SCORERS if name in names})
