"""Opening a language model's file as a scorer."""

from pathlib import Path

import torch

from rnnt.decoding.ngram import NGram
from rnnt.decoding.word_ngram import WordNGram, word_ngram
from rnnt.ngram.arpa import read_arpa
from rnnt.ngram.lexicon import spelled_words
from rnnt.ngram.tables import MOST_FOREIGN, RESERVED, build_tables, foreign_share
from rnnt.ngram.vocabulary import symbol_names
from rnnt.tokenizer import Tokenizer

_FEWEST_SPELLED = 0.5  # share of an n-gram model's words that the symbols must be able to spell


def load_language_model(
    path: Path, tokenizer: Tokenizer, weight: float = 1.0, device: str | torch.device = "cpu"
) -> NGram | WordNGram:
    """Read an ARPA file as a scorer, over the tokenizer's symbols or over words that these spell.

    Raises ValueError if the file is damaged, if its words are neither, or if the weight is not finite.
    """
    arpa = read_arpa(Path(path))
    names = symbol_names(tokenizer)
    words = [word for word in arpa.words if word not in RESERVED]
    if tokenizer.kind != "words" and foreign_share(arpa, names) > MOST_FOREIGN:
        spelled = spelled_words(words, tokenizer)
        if spelled.size and spelled.mean() >= _FEWEST_SPELLED:
            return word_ngram(arpa, tokenizer, weight, device)
    return NGram.of_tables(build_tables(arpa, names), weight, device)
