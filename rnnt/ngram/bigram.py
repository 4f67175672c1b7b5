"""The bigram model of the texts that a transducer was trained on: about the language model that it has learned."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from rnnt.ngram.arpa import Arpa, read_arpa
from rnnt.ngram.counts import FIRST_WORD
from rnnt.ngram.estimate import SPECIAL
from rnnt.ngram.kneser_ney import estimate_arpa
from rnnt.ngram.vocabulary import symbol_names
from rnnt.tokenizer import Tokenizer

BIGRAM = "bigram.arpa"  # in a model's folder
_MOST_BIGRAMS = 200_000  # that are kept; about 6 MB
_MOST_BYTES = 1 << 26  # of a file that is read


def estimate_bigram(
    texts: Callable[[], Iterable[str]], tokenizer: Tokenizer, out: Path, most: int = _MOST_BIGRAMS
) -> list[int]:
    """Estimate a bigram model over a tokenizer's symbols and write it as an ARPA file.

    texts: returns the texts; it is called again for each pass over them. If there are more than `most` bigrams, those
    that occur once are left out, then those that occur twice, and so on until few enough are left. Returns the number
    of n-grams of each order. Raises ValueError if no text can be encoded.
    """
    names = symbol_names(tokenizer)
    limit = 0
    while True:
        counts = estimate_arpa(_sentences(texts(), tokenizer, names), [*SPECIAL, *names], 2, out, (0, limit))
        if counts[1:] <= [most]:
            return counts
        limit = 2 * limit + 1


def _sentences(texts: Iterable[str], tokenizer: Tokenizer, names: list[str]) -> Iterator[np.ndarray]:
    for text in texts:
        tokens = tokenizer.encode(text)
        if tokens and all(names[token] for token in tokens):
            yield np.array(tokens, np.uint32) + FIRST_WORD


def read_bigram(folder: Path) -> Arpa:
    """Read the bigram model in a model's folder. Raises ValueError if it has none, or one that is too large."""
    path = folder / BIGRAM
    if not path.is_file():
        raise ValueError(
            f"{folder} has no {BIGRAM} to subtract; make it from the transcripts that the model was trained on: "
            f"rnnt lm TRAINING_SPLIT --model {folder} --order 2 --out {path}"
        )
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size / 1e6:.0f} MB; make a smaller one with rnnt lm --prune")
    arpa = read_arpa(path)
    if len(arpa.ngrams) > 2:
        raise ValueError(f"{path} holds {len(arpa.ngrams)}-grams; make it with rnnt lm --order 2")
    return arpa
