"""A known output and its input of symbols -> the input symbol that emits each output symbol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rnnt.alphabet import normalized
from rnnt.decoding.alignment import align
from rnnt.loader import collate, encode_text
from rnnt.model.joint import require_no_durations
from rnnt.text import one_line
from rnnt.transduction import split_input

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

_MOST_NODES = 4_000_000  # of the lattice


@dataclass(frozen=True)
class EmittedSymbol:
    """An output symbol, and where the input emits it.

    frame: the encoder frame that emits it on the most probable path. input: the input symbols of that frame, which is
    one symbol unless the encoder stacks several. probability: of the symbol, given that a symbol is emitted in its
    place, as a mean over all alignments.
    """

    symbol: str
    frame: int
    input: str
    probability: float


@dataclass(frozen=True)
class SymbolAlignment:
    """The alignment of an output with its input.

    input: the input's symbols, in the normal form that the model reads. text, tokens: the output. emitted: each of its
    symbols. log_prob: of the output given the input, the sum over all alignments.
    """

    input: list[str]
    text: str
    tokens: list[int]
    emitted: list[EmittedSymbol]
    log_prob: float


def align_symbols(recognizer: Recognizer, given: str | Sequence[str], text: str) -> SymbolAlignment:
    """Return which symbols of an input emit the symbols of a known output.

    given: a text or its symbols, as for `transduce`. text: the output as the training data has it: most often symbols
    with spaces between them. A model that reads an input in both directions may emit a symbol later than a reader
    would, and all of them at the last symbol.
    Raises ValueError if the model reads audio, the input or the output is empty, they are too long, or the output has
    symbols that the model lacks.

    >>> import rnnt
    >>> model = rnnt.load("runs/words")
    >>> [(each.input, each.symbol) for each in model.align_symbols("cab", "C A B").emitted]
    [('c', 'C'), ('a', 'A'), ('b', 'B')]
    """
    recognizer.require_input("symbols")
    require_no_durations(recognizer.model.joint.durations)
    _, symbols = split_input(recognizer.alphabet, given, 1)
    text = one_line(text)
    if not text:
        raise ValueError("the output to align is empty")
    try:
        tokens = encode_text(recognizer.tokenizer, text, float(len(symbols)), "symbols")
    except ValueError as error:
        raise ValueError(f"the output cannot be aligned: {str(error).removeprefix('its text ')}") from None
    if len(symbols) * (len(tokens) + 1) > _MOST_NODES:
        raise ValueError(f"{len(symbols)} input and {len(tokens)} output symbols are too many to align; split them")
    with recognizer.inference():
        encoder_1TD = encode_symbols(recognizer, symbols)
        lengths = torch.tensor([encoder_1TD.shape[1]]), torch.tensor([len(tokens)])
        (alignment,) = align(recognizer.model, encoder_1TD, lengths[0], torch.tensor([tokens]), lengths[1])
    symbols = normalized(symbols, recognizer.alphabet.unicode)
    stride = -(-len(symbols) // encoder_1TD.shape[1])
    emitted = [
        EmittedSymbol(
            recognizer.tokenizer.decode([token]), frame, _joined(symbols[frame * stride :][:stride]), posterior
        )
        for token, frame, posterior in zip(tokens, alignment.frames, alignment.posteriors)
    ]
    return SymbolAlignment(symbols, text, tokens, emitted, alignment.log_prob)


def encode_symbols(recognizer: Recognizer, symbols: Sequence[str]) -> torch.Tensor:
    """Return the encoder's frames (1, T, D) of one input. Belongs inside `inference()`."""
    batch = collate([recognizer.numbers(symbols)], [[]], [""]).to(recognizer.device)
    return recognizer.encode(batch)[0]


def _joined(symbols: Sequence[str]) -> str:
    return ("" if all(len(symbol) == 1 for symbol in symbols) else " ").join(symbols)
