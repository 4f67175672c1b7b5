"""Measures of a model: the units in which texts are compared, and the error rate that decides.

Words and characters serve for speech. Where texts are symbols with spaces between them, such as phones, the symbols
are counted, and the sequences: whole texts, each wrong if any of its symbols is. A dictionary's entries are sequences,
so their rate is the word error rate of spelling to pronunciation.
"""

from dataclasses import dataclass, replace

from rnnt.config import ScoringConfig
from rnnt.phones import fold_phones


@dataclass(frozen=True)
class Unit:
    """A unit of texts that is right or wrong as a whole. fold: as in `ScoringConfig`."""

    name: str  # "word", "character", "symbol" or "sequence"
    label: str  # of its error rate, such as "WER"
    fold: str = "none"

    def split(self, text: str) -> list[str]:
        """Return the units of a text. A run of white space counts as one space, and none counts at the ends.

        >>> PHONE.split("K AE  T"), ENTRY.split("K AE  T")
        (['K', 'AE', 'T'], ['K AE T'])
        """
        words = fold_phones(text, self.fold).split()
        if self.name == "sequence":
            return [" ".join(words)]
        return list(" ".join(words)) if self.name == "character" else words

    @property
    def title(self) -> str:
        """The error rate's name in full, with its label if the name does not tell it."""
        full = f"{self.name.capitalize()} error rate"
        return full if full[0] == self.label[0] else f"{full} ({self.label})"


WORD, CHARACTER, PHONE = Unit("word", "WER"), Unit("character", "CER"), Unit("symbol", "PER")
ENTRY, SENTENCE = Unit("sequence", "WER"), Unit("sequence", "SER")  # of a dictionary, and of speech


@dataclass(frozen=True)
class Measure:
    """Two error rates of one model.

    first: of the unit that decides which model is best. second: for information. tokens: the one of them that spaces
    separate. Alignments of texts are shown in it.
    """

    first: Unit
    second: Unit
    tokens: Unit


WORDS = Measure(WORD, CHARACTER, WORD)
_MEASURES = {"words": WORDS, "symbols": Measure(PHONE, SENTENCE, PHONE), "sequences": Measure(ENTRY, PHONE, PHONE)}


def measure_of(config: ScoringConfig) -> Measure:
    """Return the measure that settings ask for."""
    units = vars(_MEASURES[config.measure])
    return Measure(**{name: replace(unit, fold=config.fold) for name, unit in units.items()})
