"""A known text and its recording -> a transcript with times: when was each word said?

The symbols of the text are emitted along the best path through their lattice. Of a long recording, only a band of the
lattice is visited. Greedy search says where it lies: words that it finds in the text are anchors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from rnnt.anchors import anchored_band, find_anchors, through
from rnnt.decoding import greedy
from rnnt.decoding.alignment import Alignment, align, band_around, whole_band
from rnnt.decoding.viterbi import widest_path
from rnnt.loader import encode_text
from rnnt.model.joint import require_no_durations
from rnnt.silence import speech_bounds
from rnnt.text import one_line
from rnnt.transcript import Transcript
from rnnt.transcription import Audio, named_waveform
from rnnt.windows import encode_windows
from rnnt.word_times import MARGIN, spoken_recording, with_words

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

_WHOLE_NODES = 2_000_000  # a lattice up to this size is visited whole
_BAND_SECONDS = 2.0  # on either side of an anchor
_CHUNK_SECONDS, _CHUNKS = 20.0, 16  # of frames that greedy search decodes as one utterance, and so many together


def align_text(recognizer: Recognizer, audio: Audio, text: str) -> Transcript:
    """Return when each word of a known text is said in a recording of any length.

    audio: as for `transcribe`. text: all that is said, in order; line breaks count as spaces. The transcript has the
    text, `frames` and `log_probs` of the path of `align_frames`, and words and symbols with times and confidences.
    Words that are not said like this get times among their neighbours, and a confidence below a half, as a rule.
    Raises ValueError if the text is empty, far too long for the audio, or has characters or words that the model lacks.

    >>> import rnnt
    >>> model = rnnt.load("runs/mine")
    >>> transcript = model.align("recording.wav", "mid high")
    >>> [word.word for word in transcript.words]
    ['mid', 'high']
    """
    recognizer.require_input("audio")
    require_no_durations(recognizer.model.joint.durations)
    rate = recognizer.config.features.sample_rate
    samples = named_waveform(audio, rate, 0)
    seconds = len(samples) / rate
    text = one_line(text)
    if not text:
        raise ValueError("the text to align is empty")
    try:
        tokens = encode_text(recognizer.tokenizer, text, seconds)
    except ValueError as error:
        raise ValueError(f"the text cannot be aligned: {str(error).removeprefix('its text ')}") from None
    start, end = speech_bounds(samples) if recognizer.config.features.trim_silence else (0, len(samples))
    with recognizer.inference():
        alignment = align_frames(recognizer, encode_windows(recognizer, samples[start:end]), tokens)
        spoken = spoken_recording(recognizer, samples[start:end], start)
    step = recognizer.frame_seconds
    times = [round(start / rate + frame * step, 3) for frame in alignment.frames]
    transcript = Transcript(text, tokens, alignment.frames, times, alignment.log_probs, seconds)
    return with_words(recognizer, [transcript], [alignment], [spoken])[0]


def align_frames(recognizer: Recognizer, encoder_1TD: torch.Tensor, tokens: list[int]) -> Alignment:
    """Return the alignment of symbols with the encoder's frames (1, T, D). Belongs inside `inference()`.

    First, the best path is found: that of the whole lattice, if this has at most 2 million nodes, and otherwise that of
    a band (`rnnt.anchors`), which is made wider where the path touches its edge. But the best path often emits a word
    long before its sound, at the beginning of a pause. So a symbol that greedy search finds too is expected when
    greedy search emits it, as in transcripts, and only the others when the best path does. The result is the
    alignment of the nodes up to one frame from there.
    """
    length, labels = encoder_1TD.shape[1], len(tokens)
    lengths, target_lengths = torch.tensor([length]), torch.tensor([labels])
    targets_1U = torch.tensor([tokens], dtype=torch.long)
    margin = max(round(_BAND_SECONDS / recognizer.frame_seconds), 1)
    anchors = find_anchors(recognizer.tokenizer, tokens, *hear(recognizer, encoder_1TD))
    if length * (labels + 1) <= _WHOLE_NODES:
        band = whole_band(lengths, labels + 1)
    else:
        band = anchored_band(anchors, length, labels, margin)
    path = widest_path(recognizer.model, encoder_1TD, targets_1U, band, margin)
    near = band_around(torch.tensor([through(anchors, path.frames)]), lengths, target_lengths, MARGIN)
    (alignment,) = align(recognizer.model, encoder_1TD, lengths, targets_1U, target_lengths, near)
    return alignment


def hear(recognizer: Recognizer, encoder_1TD: torch.Tensor) -> tuple[list[int], list[int]]:
    """Return the symbols that greedy search finds, and the frames that emit them.

    The frames are decoded in chunks, as so many utterances: what is lost at their ends are some words of thousands.
    """
    size = max(round(_CHUNK_SECONDS / recognizer.frame_seconds), 1)
    chunks = encoder_1TD[0].split(size)
    config = replace(recognizer.config.decoding, method="greedy")
    tokens: list[int] = []
    frames: list[int] = []
    for first in range(0, len(chunks), _CHUNKS):
        batch = chunks[first : first + _CHUNKS]
        padded_BTD = torch.nn.utils.rnn.pad_sequence(list(batch), batch_first=True)
        lengths = torch.tensor([len(chunk) for chunk in batch])
        for number, hypothesis in enumerate(greedy(recognizer.model, padded_BTD, lengths, config), first):
            tokens += hypothesis.tokens
            frames += [number * size + frame for frame in hypothesis.frames]
    return tokens, frames
