"""The times and confidences of a transcript's words and symbols, from the lattice of its text and from the audio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from rnnt.boundaries import ExpectedWord, word_bounds
from rnnt.calibration import Calibration
from rnnt.decoding import Hypothesis
from rnnt.decoding.alignment import Alignment, align, band_around
from rnnt.tokenizer import Tokenizer
from rnnt.transcript import Symbol, Transcript, Word

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

# Frames on either side of a hypothesis's path that its lattice is searched in. The symbols of a decoded text are
# nearly always emitted this near to their path, and the whole lattice would take half as long as the encoder.
MARGIN = 3


def align_hypotheses(
    recognizer: Recognizer, hypotheses: Sequence[Hypothesis], encoder_BTD: torch.Tensor, lengths: torch.Tensor
) -> list[Alignment]:
    """Align decoded symbols with the encoder frames (B, T, D) that they were decoded from, lengths (B,)."""
    longest = max(len(hypothesis.tokens) for hypothesis in hypotheses)
    targets_BU, frames_BU = torch.zeros(2, len(hypotheses), longest, dtype=torch.long)
    for b, hypothesis in enumerate(hypotheses):
        targets_BU[b, : len(hypothesis.tokens)] = torch.tensor(hypothesis.tokens, dtype=torch.long)
        frames_BU[b, : len(hypothesis.frames)] = torch.tensor(hypothesis.frames, dtype=torch.long)
    target_lengths = torch.tensor([len(hypothesis.tokens) for hypothesis in hypotheses])
    band = band_around(frames_BU, lengths, target_lengths, MARGIN)
    return align(recognizer.model, encoder_BTD, lengths, targets_BU, target_lengths, band)


def with_words(
    transcript: Transcript, alignment: Alignment, recognizer: Recognizer, samples: np.ndarray, start: int = 0
) -> Transcript:
    """Return the transcript with words and symbols, their times and confidences.

    samples: int16 (N,), the whole audio; start: the sample at which the first encoder frame begins.
    """
    rate = recognizer.config.features.sample_rate
    seconds = emission_seconds(recognizer, alignment, start)
    words, symbols = timed_words(
        recognizer.tokenizer, recognizer.calibration, transcript.tokens, seconds, alignment.posteriors, samples, rate
    )
    return replace(transcript, words=words, symbols=symbols)


def emission_seconds(recognizer: Recognizer, alignment: Alignment, start: int = 0) -> list[float]:
    """Return when each symbol is emitted, in seconds, as the mean over all paths.

    start: the sample at which the first encoder frame begins.
    """
    begin, step = start / recognizer.config.features.sample_rate, recognizer.frame_seconds
    return [begin + (frame + 0.5) * step for frame in alignment.expected]


def timed_words(
    tokenizer: Tokenizer,
    calibration: Calibration,
    tokens: Sequence[int],
    seconds: Sequence[float],
    probabilities: Sequence[float],
    samples: np.ndarray,
    sample_rate: int,
) -> tuple[list[Word], list[Symbol]]:
    """Return the words and the symbols that tokens form.

    seconds: when each token was emitted, never falling. probabilities: that each token is right, given those before it.
    """
    spans = tokenizer.word_spans(tokens)
    expected = []
    for first, end in spans:
        begins = seconds[first] - calibration.start_of(tokens[first])
        ends = seconds[end - 1] - calibration.end_of(tokens[end - 1])
        expected.append(ExpectedWord(begins, max(begins, ends), sum(seconds[first:end]) / (end - first)))
    bounds = word_bounds(samples, sample_rate, expected)
    confidences = calibration.confidences([math.prod(probabilities[first:end]) for first, end in spans])
    words = [
        Word(tokenizer.decode(tokens[first:end]).strip(), round(start, 3), round(stop, 3), round(confidence, 6))
        for (first, end), (start, stop), confidence in zip(spans, bounds, confidences)
    ]
    return words, _timed_symbols(tokenizer, calibration, tokens, seconds, probabilities, spans, words)


def _timed_symbols(tokenizer, calibration, tokens, seconds, probabilities, spans, words) -> list[Symbol]:
    """Spread the symbols of a word over its time, in proportion to the times between their emissions.

    Symbols between two words, which are spaces, fill the time between these.
    """
    total = len(tokens)
    starts, ends = [0.0] * total, [0.0] * total
    covered, before = 0, 0.0
    last_end = words[-1].end if words else (seconds[-1] if total else 0.0)
    for (first, end), word in [*zip(spans, words), ((total, total), None)]:
        for place in range(covered, first):
            starts[place], ends[place] = before, word.start if word else last_end
        if word is None:
            break
        # The last symbol lasts as long as the others on average. No symbol lasts no time at all.
        begins = [seconds[place] - seconds[first] + 1e-3 * (place - first) for place in range(first, end)]
        whole = begins[-1] * (end - first) / (end - first - 1) if end - first > 1 else 1.0
        edges = [word.start + (word.end - word.start) * begin / whole for begin in begins] + [word.end]
        starts[first:end], ends[first:end] = edges[:-1], edges[1:]
        covered, before = end, word.end
    return [
        Symbol(tokenizer.symbol_text(token), round(start, 3), round(end, 3), round(confidence, 6))
        for token, start, end, confidence in zip(tokens, starts, ends, calibration.confidences(probabilities))
    ]
