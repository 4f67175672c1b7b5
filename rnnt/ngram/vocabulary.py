"""The names that symbols have in an ARPA file, and the vocabulary of words that a text is made of."""

from rnnt.ngram.tables import RESERVED
from rnnt.tokenizer import Tokenizer

SPACE = "<space>"  # stands for the symbol of one space, which separates words in an ARPA file


def symbol_names(tokenizer: Tokenizer) -> list[str]:
    """Return the name of each of a tokenizer's symbols in ARPA files; an empty string for one that cannot be there.

    These are symbols without text, and those with white space in them or the name of a special word such as <unk>.
    """
    names = [SPACE if symbol == " " else symbol for symbol in tokenizer.symbols]
    return ["" if name in RESERVED or name.encode().split() != [name.encode()] else name for name in names]
