"""Inputs of symbols, such as words -> the most probable outputs, such as pronunciations, with their probabilities.

Shapes: B inputs, T encoder frames, D encoder width, R outputs whose probability is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from rnnt.alphabet import Alphabet
from rnnt.decoding import Hypothesis
from rnnt.decoding.decoder import Decoder, configured_decoder
from rnnt.decoding.rescoring import WHOLE
from rnnt.loader import collate, pad_symbols
from rnnt.sampler import batches_by_length
from rnnt.text import visible
from rnnt.threads import side_by_side
from rnnt.transcription import BATCH_SYMBOLS

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

MOST_INPUT_SYMBOLS = 2000  # of one input; its lattice then has some million nodes
_NODES = 4_000_000  # of the padded lattices that are computed at once: some 300 MB


@dataclass(frozen=True)
class Candidate:
    """A possible output of one input.

    tokens: its symbols, and text: the same as text. probability: that of the symbols, given the input: the sum over all
    alignments; None if it was not asked for. truncated: `decoding.max_symbols` was met, and the rest is missing.
    """

    text: str
    tokens: list[int]
    probability: float | None
    truncated: bool


@dataclass(frozen=True)
class Transduction:
    """The outputs found for one input.

    input: the text that was given. candidates: the outputs, the most probable first. unknown: the symbols of the input
    that training never saw; the model reads one and the same symbol in their place.
    """

    input: str
    candidates: list[Candidate]
    unknown: list[str]

    @property
    def text(self) -> str:
        """The most probable output."""
        return self.candidates[0].text

    @property
    def probability(self) -> float | None:
        """The probability of the most probable output, which tells how far to trust it."""
        return self.candidates[0].probability


def transduce(
    recognizer: Recognizer,
    inputs: str | Iterable[str | Sequence[str]],
    nbest: int = 1,
    batch_size: int | None = None,
    probabilities: bool = True,
) -> list[Transduction]:
    """Return the most probable outputs of texts, for a model that reads symbols.

    inputs: one text, or several. A text is split into symbols by `split_text`; a list or tuple is taken as symbols.
    nbest: the most outputs to return for each. Beam search keeps at least so many hypotheses. batch_size: inputs
    decoded together, by default `decoding.batch`. probabilities: without them greedy search is faster.

    The results are a list in the order of the inputs, also for one input, and none depends on its batch. Probabilities
    are the model's: they sum to at most 1 over the outputs of an input. If a language model or hot words steer the
    search, its order counts instead of the probability.
    Raises ValueError if the model reads audio, an input is empty or has more than 2,000 symbols, or greedy search
    is to find several outputs.

    >>> import rnnt
    >>> model = rnnt.load("runs/words")
    >>> for found in model.transduce(["ab", "cab"]):
    ...     print(found.input, found.text, f"{found.probability:.2f}")
    ab A B 0.99
    cab C A B 0.99
    >>> [each.text for each in model.transduce("ab", nbest=3)[0].candidates]
    ['A B', 'A B B', 'A A B']
    """
    recognizer.require_input("symbols")
    decode = partial(_candidates, recognizer, _decoder(recognizer, nbest), nbest, probabilities)
    alphabet = recognizer.alphabet
    given = [split_input(alphabet, item, number) for number, item in enumerate(_several_texts(inputs), 1)]
    numbers = [recognizer.numbers(symbols) for _, symbols in given]
    found: dict[int, list[Candidate]] = {}
    size = batch_size or recognizer.config.decoding.batch
    batches = list(batches_by_length([len(each) for each in numbers], size, BATCH_SYMBOLS))
    inputs = [[numbers[i] for i in indices] for indices in batches]
    for indices, outputs in zip(batches, side_by_side(decode, inputs, recognizer.device)):
        found |= zip(indices, outputs)
    return [
        Transduction(text, found[i], alphabet.lacking(symbols) if alphabet.unknown in numbers[i] else [])
        for i, (text, symbols) in enumerate(given)
    ]


def split_text(alphabet: Alphabet, text: str) -> list[str]:
    """Return the input symbols of a text: its characters, without white space at the ends.

    If the alphabet has symbols of several characters, such as phones or tags, there must be spaces between the symbols.

    >>> split_text(Alphabet(["a", "b"], "nfc"), "cab"), split_text(Alphabet(["n", "<V>"], "nfc"), "r u n <V>")
    (['c', 'a', 'b'], ['r', 'u', 'n', '<V>'])
    """
    return text.split() if any(len(symbol) > 1 for symbol in alphabet.symbols) else list(text.strip())


def split_input(alphabet: Alphabet, item: str | Sequence[str], number: int) -> tuple[str, list[str]]:
    """Return an input as text and as symbols. number: of the input, for messages.

    Raises ValueError if it is empty, too long, or neither text nor symbols.
    """
    if isinstance(item, str):
        text, symbols = item, split_text(alphabet, item)
    elif isinstance(item, (list, tuple)) and all(isinstance(symbol, str) for symbol in item):
        text, symbols = " ".join(item), list(item)
    else:
        raise ValueError(f"input {number} is neither a text nor a list of symbols")
    if not symbols:
        raise ValueError(f"input {number} is empty")
    if len(symbols) > MOST_INPUT_SYMBOLS:
        start = visible("".join(symbols)[:20])
        raise ValueError(
            f"input {number} ({start}...) has {len(symbols)} symbols, more than {MOST_INPUT_SYMBOLS}; split it"
        )
    return text, symbols


def log_probabilities(
    recognizer: Recognizer, encoder_BTD: torch.Tensor, lengths: torch.Tensor, rows: list[int], tokens: list[list[int]]
) -> list[float]:
    """Return the log-probability of each of R outputs given its input, the sum over all alignments.

    encoder_BTD, lengths: the encoder's frames of the inputs. rows: the input of each output. tokens: its symbols.
    Belongs inside `inference()`. The model computes in float32 at least, and the sum is in float64.
    """
    dtype = torch.promote_types(encoder_BTD.dtype, torch.float32)
    most = max(1, _NODES // (encoder_BTD.shape[1] * (max(map(len, tokens), default=0) + 1)))
    found: list[float] = []
    for first in range(0, len(rows), most):
        chosen = torch.tensor(rows[first : first + most])
        frames = encoder_BTD[chosen.to(encoder_BTD.device)].to(dtype), lengths[chosen.to(lengths.device)]
        with torch.autocast(encoder_BTD.device.type, enabled=False):
            losses = recognizer.model.loss(*frames, *pad_symbols(tokens[first : first + most]))
        found += (-losses).tolist()
    return found


def _decoder(recognizer: Recognizer, nbest: int) -> Decoder:
    """Return the configured decoder, with a beam that is wide enough."""
    config = recognizer.config.decoding
    if nbest < 1:
        raise ValueError(f"nbest is {nbest}; it must be at least 1")
    if config.method == "beam":
        config = replace(config, beam=max(config.beam, nbest))
    elif nbest > 1:
        raise ValueError(f"greedy search finds one output, not {nbest}; choose the decoding beam or beam:{nbest}")
    return configured_decoder(config, recognizer.scorers)


def _candidates(
    recognizer: Recognizer, decoder: Decoder, nbest: int, probabilities: bool, inputs: list[np.ndarray]
) -> list[list[Candidate]]:
    """Decode inputs together. Return the outputs of each, the best first."""
    with recognizer.inference():
        batch = collate(inputs, [[]] * len(inputs), [""] * len(inputs)).to(recognizer.device)
        encoder_BTD, lengths = recognizer.encode(batch)
        limits = recognizer.symbol_limits(batch.input_lengths)
        if nbest == 1 and not probabilities:
            best = decoder.winners(recognizer.model, encoder_BTD, lengths, limits)
            return [[_candidate(recognizer, each, None)] for each in best]
        found = decoder.search(recognizer.model, encoder_BTD, lengths, limits)
        scores = _scores(recognizer, decoder, encoder_BTD, lengths, found) if probabilities else None
    results = []
    for row, hypotheses in enumerate(found):
        ranked = []
        for number, each in enumerate(hypotheses):
            log_prob = each.score if scores is None else scores[row][number]
            steering = 0.0 if each.total is None else each.total - each.score
            ranked.append((log_prob + steering, _candidate(recognizer, each, log_prob if probabilities else None)))
        ranked.sort(key=lambda pair: -pair[0])
        results.append([candidate for _, candidate in ranked[:nbest]])
    return results


def _scores(
    recognizer: Recognizer,
    decoder: Decoder,
    encoder_BTD: torch.Tensor,
    lengths: torch.Tensor,
    found: list[list[Hypothesis]],
) -> list[list[float]]:
    """Return the log-probability of each hypothesis of each input."""
    # Greedy search has the score of one alignment, and beam search sums up short lattices alone.
    inexact = (lengths > (0 if decoder.config.method == "greedy" else WHOLE)).tolist()
    rows = [row for row, hypotheses in enumerate(found) if inexact[row] for _ in hypotheses]
    tokens = [each.tokens for row, hypotheses in enumerate(found) if inexact[row] for each in hypotheses]
    exact = iter(log_probabilities(recognizer, encoder_BTD, lengths, rows, tokens))
    return [[next(exact) if inexact[row] else each.score for each in line] for row, line in enumerate(found)]


def _candidate(recognizer: Recognizer, hypothesis: Hypothesis, log_prob: float | None) -> Candidate:
    text = recognizer.tokenizer.decode(hypothesis.tokens)
    probability = None if log_prob is None else math.exp(min(log_prob, 0.0))  # rounding may leave more than 1
    return Candidate(text, hypothesis.tokens, probability, hypothesis.truncated)


def _several_texts(inputs: str | Iterable[str | Sequence[str]]) -> Iterable[str | Sequence[str]]:
    return [inputs] if isinstance(inputs, str) else inputs
