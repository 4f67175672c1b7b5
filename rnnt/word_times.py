"""The times and confidences of a transcript's words and symbols, from the lattice of its text and from the audio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from rnnt.boundaries import Expected, state_edges
from rnnt.calibration import Calibration
from rnnt.decoding import Hypothesis
from rnnt.decoding.alignment import Alignment, align, band_around
from rnnt.decoding.durations import align_durations
from rnnt.loader import pad_symbols
from rnnt.sounds import MERGED, describe_frames, states
from rnnt.tokenizer import SPACE_PIECE
from rnnt.transcript import Symbol, Transcript, Word

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

# Frames on either side of a hypothesis's path that its lattice is searched in. The symbols of a decoded text are
# nearly always emitted this near to their path, and the whole lattice would take half as long as the encoder.
MARGIN = 1
_WINDOW_HOPS = 2000  # about; of a recording whose features are computed at once
_FADE_SECONDS = 0.03  # that a word lasts after its last sound, if there is a pause


def align_hypotheses(
    recognizer: Recognizer, hypotheses: Sequence[Hypothesis], encoder_BTD: torch.Tensor, lengths: torch.Tensor
) -> list[Alignment]:
    """Align decoded symbols with the encoder frames (B, T, D) that they were decoded from, lengths (B,)."""
    if recognizer.model.joint.durations:
        return align_durations(recognizer.model, encoder_BTD, hypotheses)
    targets_BU, target_lengths = pad_symbols([hypothesis.tokens for hypothesis in hypotheses])
    frames_BU, _ = pad_symbols([hypothesis.frames for hypothesis in hypotheses])
    band = band_around(frames_BU, lengths, target_lengths, MARGIN)
    return align(recognizer.model, encoder_BTD, lengths, targets_BU, target_lengths, band)


@dataclass(frozen=True)
class Spoken:
    """The audio that the encoder heard of an utterance.

    start: its first sample in the whole audio; num_samples: how many there are. described: what `describe_frames`
    returned for it (S, D); None for a model that does not know the sounds of its characters.
    """

    start: int
    num_samples: int
    described: np.ndarray | None


def spoken_audio(
    recognizer: Recognizer,
    features_BTF: torch.Tensor,
    inputs: Sequence[np.ndarray],
    starts: Sequence[int],
    described: bool = False,
) -> list[Spoken]:
    """Return the audio of each utterance of a batch.

    features_BTF: the stacked features; inputs: the samples (N,) that they were computed from; starts: the place of the
    first of these in the whole audio. described: describe the frames, even if the model does not know any sounds.
    """
    if not (described or recognizer.calibration.sounds):
        return [Spoken(start, len(samples), None) for start, samples in zip(starts, inputs)]
    config = recognizer.config.features
    frames_BSF = features_BTF.cpu().numpy().reshape(len(inputs), -1, config.values)
    spoken = []
    for start, samples, frames_SF in zip(starts, inputs, frames_BSF):
        num_frames = int(recognizer.features.num_frames(torch.tensor(len(samples))))
        described_SD = describe_frames(frames_SF[:num_frames], samples, config.hop, config.sample_rate)
        spoken.append(Spoken(start, len(samples), described_SD))
    return spoken


def spoken_recording(recognizer: Recognizer, samples: np.ndarray, start: int) -> Spoken:
    """Return the audio of a recording of any length, whose features are computed in windows.

    samples: (N,); start: the place of the first of these in the whole audio.
    """
    if not recognizer.calibration.sounds:
        return Spoken(start, len(samples), None)
    config = recognizer.config.features
    size = MERGED * config.hop * config.stack * (_WINDOW_HOPS // (MERGED * config.stack) + 1)
    described = []
    for first in range(0, len(samples), size):
        window = samples[first : first + size]
        features_BTF, _ = recognizer.features(
            torch.from_numpy(window)[None].to(recognizer.device), torch.tensor([len(window)])
        )
        (spoken,) = spoken_audio(recognizer, features_BTF, [window], [0])
        described.append(spoken.described)
    return Spoken(start, len(samples), np.concatenate(described))


def with_words(
    recognizer: Recognizer,
    transcripts: Sequence[Transcript],
    alignments: Sequence[Alignment],
    spoken: Sequence[Spoken],
) -> list[Transcript]:
    """Return the transcripts of a batch with words and symbols, their times and confidences."""
    tokens = [transcript.tokens for transcript in transcripts]
    return [
        replace(transcript, words=words, symbols=symbols)
        for transcript, (words, symbols) in zip(transcripts, timed_words(recognizer, tokens, alignments, spoken))
    ]


def timed_words(
    recognizer: Recognizer,
    tokens: Sequence[Sequence[int]],
    alignments: Sequence[Alignment],
    spoken: Sequence[Spoken],
    calibration: Calibration | None = None,
) -> list[tuple[list[Word], list[Symbol]]]:
    """Return the words and the symbols that the tokens of each utterance form. calibration: the model's by default."""
    calibration, tokenizer = calibration or recognizer.calibration, recognizer.tokenizer
    sounds = calibration.sounds
    characters = sounds.characters if sounds else ""
    rate, hop = recognizer.config.features.sample_rate, recognizer.config.features.hop
    lines = [
        word_states(recognizer, calibration, characters, each, alignment, audio.num_samples)
        for each, alignment, audio in zip(tokens, alignments, spoken)
    ]
    edges = [line.expected.edges for line in lines]
    if sounds:
        scores = [sounds.scores(audio.described) for audio in spoken]
        edges = state_edges(scores, [line.expected for line in lines], sounds.stay)
    results = []
    for each, alignment, audio, line, edge in zip(tokens, alignments, spoken, lines, edges):
        # The middle of the features' first frame is at sample 0.
        seconds = (audio.start + ((edge * MERGED - 0.5) * hop).clip(0, audio.num_samples)) / rate
        confidences = calibration.confidences(alignment.posteriors)
        symbols, words = _timed_symbols(tokenizer, each, seconds.tolist(), line, confidences), []
        spans = tokenizer.word_spans(each)
        together = calibration.confidences([math.prod(alignment.posteriors[first:end]) for first, end in spans])
        for (first, end), confidence in zip(spans, together):
            text = tokenizer.decode(each[first:end]).strip()
            words.append(Word(text, symbols[first].start, symbols[end - 1].end, round(confidence, 6)))
        results.append((words, symbols))
    return results


@dataclass(frozen=True)
class WordStates:
    """The states of an utterance's words, and the places among them of each symbol of each word."""

    expected: Expected
    places: list[list[tuple[int, int]]]


def word_states(
    recognizer: Recognizer,
    calibration: Calibration,
    characters: str,
    tokens: Sequence[int],
    alignment: Alignment,
    num_samples: int,
) -> WordStates:
    """Return the states of words, and when they are expected to last by the emissions of their first and last symbol.

    characters: those that have states. The states of a word last equally long.
    """
    spans = recognizer.tokenizer.word_spans(tokens)
    size = MERGED * recognizer.config.features.hop
    length, rate = -(-num_samples // size), recognizer.config.features.sample_rate / size
    texts = [_spoken_text(recognizer.tokenizer.symbols[token]) for token in tokens]
    found, places = states(characters, [texts[first:end] for first, end in spans])
    first, last = (np.array(spans, int).reshape(-1, 2) - (0, 1)).T
    begins = np.array(alignment.expected)
    if alignment.ends is None:
        emitted = np.stack([begins[first], begins[last]], 1) + 0.5
        seconds = emitted * recognizer.frame_seconds - (calibration.start, calibration.end)
    else:  # the model itself says how long symbols last
        seconds = np.stack([begins[first], np.array(alignment.ends)[last]], 1) * recognizer.frame_seconds
    bounds = seconds * rate + 0.5 / MERGED
    # Words that would overlap meet in the middle.
    overlap = bounds[1:, 0] < bounds[:-1, 1]
    middle = (bounds[1:, 0] + bounds[:-1, 1]) / 2
    bounds[1:, 0] = np.where(overlap, middle, bounds[1:, 0])
    bounds[:-1, 1] = np.where(overlap, middle, bounds[:-1, 1])
    firsts = np.array([span[0][0] for span in places] + [len(found)])
    ends = np.array([span[-1][1] for span in places])
    known = np.stack([firsts[:-1], ends], 1).reshape(-1)
    edges = np.interp(np.arange(len(found) + 1), [0, *known, len(found)], [0.0, *bounds.reshape(-1), length])
    return WordStates(Expected(found, np.maximum.accumulate(edges.clip(0, length))), places)


def _spoken_text(text: str) -> str:
    return "".join(text.replace(SPACE_PIECE, " ").split())


def _timed_symbols(tokenizer, tokens, seconds, line: WordStates, confidences) -> list[Symbol]:
    """Return the symbols of an utterance. Symbols between two words, which are spaces, fill the time between these."""
    total = len(tokens)
    starts, ends = [0.0] * total, [0.0] * total
    covered, before = 0, 0.0
    for (first, end), places in zip(tokenizer.word_spans(tokens), line.places):
        for place, (left, right) in zip(range(first, end), places):
            starts[place], ends[place] = seconds[left], seconds[right]
        # A word fades, if there is a pause.
        last = places[-1][1]
        ends[end - 1] = min(seconds[last] + _FADE_SECONDS, seconds[last + 1])
        for place in range(covered, first):
            starts[place], ends[place] = before, starts[first]
        covered, before = end, ends[end - 1]
    for place in range(covered, total):
        starts[place] = ends[place] = before
    return [
        Symbol(tokenizer.symbols[token], round(start, 3), round(end, 3), round(confidence, 6))
        for token, start, end, confidence in zip(tokens, starts, ends, confidences)
    ]
