"""Estimation of an n-gram language model over the symbols or the words of a tokenizer, from text."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rnnt.ngram.counts import FIRST_WORD, UNKNOWN
from rnnt.ngram.kneser_ney import estimate_arpa
from rnnt.ngram.sentences import Sentences
from rnnt.ngram.tables import RESERVED
from rnnt.ngram.vocabulary import symbol_names

SPECIAL = ("<unk>", "<s>", "</s>")


def estimate_language_model(
    sentences: Sentences, out: Path, order: int, prune: Sequence[int] = (), of_words: bool = False
) -> list[int]:
    """Estimate an n-gram model of sentences and write it as an ARPA file. Returns the number of n-grams of each order.

    The n-grams are over all of the tokenizer's symbols, or over the words of the text if `of_words`. prune: as in
    `estimate_arpa`. Raises ValueError if the tokenizer can encode none of the text, or a setting is out of range.
    """
    if of_words and sentences.tokenizer.kind == "words":
        raise ValueError("the symbols of this model are words already; leave --words out")
    if of_words:
        number = _number_words(sentences)
        names = [*SPECIAL, *(word for word, i in number.items() if i >= FIRST_WORD)]
        numbered = ([number[word] for word in words] for words in sentences.words())
    else:
        names = [*SPECIAL, *symbol_names(sentences.tokenizer)]
        numbered = sentences.symbols()
    try:
        return estimate_arpa(numbered, names, order, out, prune)
    except ValueError as error:
        if sentences.read or not sentences.left_out:
            raise
        why = f"the model's tokenizer can encode none of the {sentences.left_out:,} lines"
        raise ValueError(f"{why} (first {sentences.first_left_out})") from error


def _number_words(sentences: Sentences) -> dict[str, int]:
    """Number the words of the text, the most frequent first. Those that are special in ARPA files are <unk>."""
    counts = Counter(word for words in sentences.words() for word in words)
    special = {word: UNKNOWN for word in RESERVED if counts.pop(word, 0)}
    return {word: i for i, (word, _) in enumerate(counts.most_common(), FIRST_WORD)} | special
