"""tokens.txt: the symbols of a model as the runtimes read them, one `symbol number` a line."""

from rnnt.tokenizer import SPACE_PIECE, Tokenizer

BLANK = "<blk>"


def token_names(tokenizer: Tokenizer) -> list[str]:
    """Return the name of each symbol, blank last. A space is written as U+2581.

    Joined, with spaces in its place, the names of a transcript's symbols are its text. Symbols without text have names
    in angle brackets, such as <unused-5>; those of bytes are <0x00> to <0xFF>. Raises ValueError if names hold white
    space, which tokens.txt cannot tell from the end of a name.
    """
    names = []
    for number, symbol in enumerate(tokenizer.symbols):
        if tokenizer.kind == "words":
            symbol = SPACE_PIECE + symbol
        elif tokenizer.kind == "characters":
            symbol = symbol.replace(" ", SPACE_PIECE)
        names.append(symbol or f"<unused-{number}>")
    for name in names:
        if not name.split() or name.split() != [name]:
            raise ValueError(f"the tokenizer's symbol {name!r} holds white space, which tokens.txt cannot hold")
    return [*names, BLANK]


def tokens_text(names: list[str]) -> str:
    """Return the contents of tokens.txt."""
    return "".join(f"{name} {number}\n" for number, name in enumerate(names))
