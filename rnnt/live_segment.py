"""The text of a stretch of a stream: its words, when they were said, and how sure they are.

While a stretch goes on, the times of its words are estimated from the frames that emit their symbols. Once it is done,
they are found as for a file, from the lattice of its text and from its audio (see `rnnt.word_times`).

T encoder frames, D values of one, U symbols.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from rnnt.decoding.alignment import Alignment, align, band_around
from rnnt.decoding.durations import align_durations
from rnnt.decoding.hypothesis import Hypothesis
from rnnt.transcript import Segment, Symbol, Transcript, Word
from rnnt.word_times import MARGIN, Spoken, spoken_audio, timed_words

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

Context = tuple[torch.Tensor, tuple]  # output (1, D) and state of the predictor after all symbols before a stretch


@dataclass
class Heard:
    """The part of a stream since the last endpoint. Its first encoder frame has the number `start`.

    context: of the predictor. encoder: chunks of encoder frames (T, D). features: chunks of stacked features, and
    samples: chunks of audio; both are only kept for models that know the sounds of their characters.
    """

    context: Context
    start: int = 0
    encoder: list[torch.Tensor] = field(default_factory=list)
    features: list[torch.Tensor] = field(default_factory=list)
    samples: list[np.ndarray] = field(default_factory=list)

    def cut(self, frames: int, stride: int, step: int) -> None:
        """Forget the first encoder frames. stride, step: stacked features and samples of an encoder frame."""
        self.start += frames
        for chunks, count, join in (
            (self.encoder, frames, torch.cat),
            (self.features, frames * stride, torch.cat),
            (self.samples, frames * step, np.concatenate),
        ):
            if chunks:
                rest = join(chunks)[count:]
                chunks[:] = [rest.clone() if isinstance(rest, torch.Tensor) else rest.copy()] if len(rest) else []


def partial_transcript(
    recognizer: Recognizer, best: Hypothesis, start: int, num_samples: int, words: bool
) -> Transcript:
    """Return the text of a stretch that goes on. The time of a symbol is that of its emission.

    start: the stretch's first encoder frame; num_samples: of the stream so far; words: whether to find the words and
    symbols. The confidence of a symbol is the probability with which it was emitted.
    """
    step, rate = recognizer.frame_seconds, recognizer.config.features.sample_rate
    if not words:
        return _transcript(recognizer, best, start, num_samples / rate, [], [])
    frames = [float(frame - start) for frame in best.frames]
    probabilities = [math.exp(x) for x in best.log_probs]
    alignment = Alignment(best.frames, frames, best.log_probs, probabilities, best.score, best.score)
    first = round(start * step * rate)
    spoken = Spoken(first, num_samples - first, None)
    return _transcript(recognizer, best, start, num_samples / rate, *_words(recognizer, best, alignment, spoken))


def final_transcript(recognizer: Recognizer, heard: Heard, best: Hypothesis, frames: int, end: float) -> Transcript:
    """Return the text of a stretch that is done, and let the predictor's context go on after it.

    best: the symbols of the stretch alone, and their frames in the stream. frames: encoder frames of the stretch; what
    `heard` holds after these belongs to the next. end: of the stretch, in seconds. Belongs inside `inference()`.
    """
    model, config = recognizer.model, recognizer.config.features
    outputs, state = [heard.context[0]], heard.context[1]
    for token in best.tokens:
        output, state = model.predictor.step(torch.tensor([token], device=outputs[0].device), state)
        outputs.append(output)
    heard.context = outputs[-1], state
    encoder_1TD = torch.cat(heard.encoder)[None, :frames]
    length, count = torch.tensor([encoder_1TD.shape[1]]), torch.tensor([len(best.tokens)])
    targets_1U = torch.tensor([best.tokens])
    predictor_1UD = torch.stack(outputs, 1)
    if model.joint.durations:
        here = replace(best, frames=[frame - heard.start for frame in best.frames])
        (alignment,) = align_durations(model, encoder_1TD, [here], predictor_1UD)
    else:
        band = band_around(torch.tensor([best.frames]) - heard.start, length, count, MARGIN)
        (alignment,) = align(model, encoder_1TD, length, targets_1U, count, band, predictor_1UD)
    first = round(heard.start * recognizer.frame_seconds * config.sample_rate)
    spoken = Spoken(first, round(end * config.sample_rate) - first, None)
    if recognizer.calibration.sounds:
        samples = np.concatenate(heard.samples)[: spoken.num_samples]
        features_1TF = torch.cat(heard.features)[None, : frames * model.encoder.stride]
        (spoken,) = spoken_audio(recognizer, features_1TF, [samples], [first])
    return _transcript(recognizer, best, heard.start, end, *_words(recognizer, best, alignment, spoken))


def _words(
    recognizer: Recognizer, best: Hypothesis, alignment: Alignment, spoken: Spoken
) -> tuple[list[Word], list[Symbol]]:
    if not best.tokens:
        return [], []
    calibration = recognizer.calibration
    if spoken.described is None:
        calibration = replace(calibration, sounds=None)
    (found,) = timed_words(recognizer, [best.tokens], [alignment], [spoken], calibration)
    return found


def _transcript(
    recognizer: Recognizer, best: Hypothesis, start: int, end: float, words: list[Word], symbols: list[Symbol]
) -> Transcript:
    text, step = recognizer.tokenizer.decode(best.tokens), recognizer.frame_seconds
    if start:
        text = text.lstrip()  # the space between two utterances belongs to neither
    times = [round(frame * step, 3) for frame in best.frames]
    segments = [Segment(round(start * step, 3), end, text)] if best.tokens else []
    return Transcript(text, best.tokens, best.frames, times, best.log_probs, end, False, words, symbols, segments)
