"""Where in a recording the symbols of its text may be: a band of the lattice, from the symbols that a search found.

Runs of words that the text and the search's hypothesis have in common are anchors. Around them the band is narrow.
Between two of them every frame is allowed, unless the stretch is very long.
"""

from collections.abc import Sequence

import numpy as np
import torch

from rnnt.decoding.alignment import Band
from rnnt.error_rate import Pair, align_words
from rnnt.tokenizer import Tokenizer

_LEAST_UNITS, _LEAST_SYMBOLS = 2, 6  # of a run that is an anchor, unless it is the whole text
_LONG_UNIT = 20  # mean symbols of a word; beyond that the text has no spaces, and symbols are compared one by one
_GAP_NODES = 4_000_000  # between two anchors; a larger stretch of the lattice is crossed along its diagonal


def find_anchors(
    tokenizer: Tokenizer, tokens: Sequence[int], heard: Sequence[int], frames: Sequence[int]
) -> list[tuple[int, int]]:
    """Return (place, frame) of each symbol of a text that was heard in a run of words that are right, in order.

    tokens: the symbols of the text. heard, frames: those of a hypothesis, and when they were emitted.
    """
    said_spans, heard_spans = tokenizer.word_spans(tokens), tokenizer.word_spans(heard)
    if not said_spans or len(tokens) > _LONG_UNIT * len(said_spans):
        said_spans, heard_spans = ([(i, i + 1) for i in range(len(symbols))] for symbols in (tokens, heard))
    texts = [
        " ".join("-".join(map(str, symbols[start:end])) for start, end in spans)
        for symbols, spans in ((tokens, said_spans), (heard, heard_spans))
    ]
    anchors: list[tuple[int, int]] = []
    run: list[tuple[int, int]] = []
    said_place = heard_place = units = 0
    for said, word in [*align_words([Pair("", *texts)])[0], ("", "")]:
        if said and said == word:
            (start, end), (first, _) = said_spans[said_place], heard_spans[heard_place]
            run += [(start + i, frames[first + i]) for i in range(end - start)]
            units += 1
        else:
            if (units >= _LEAST_UNITS and len(run) >= _LEAST_SYMBOLS) or units == len(said_spans):
                anchors += run
            run, units = [], 0
        said_place += bool(said)
        heard_place += bool(word)
    return anchors


def anchored_band(anchors: Sequence[tuple[int, int]], length: int, labels: int, margin: int) -> Band:
    """Return the band of one utterance of `length` frames and `labels` symbols that is `margin` frames around anchors.

    A symbol between two anchors may be emitted at any frame between them, or `margin` frames before or after. If that
    makes more than 4 million nodes between two anchors, it may be emitted around the line that joins them instead.
    """
    early, late = np.zeros(labels, np.int64), np.full(labels, length - 1)
    for (place, frame), (following, end) in zip([(-1, 0), *anchors], [*anchors, (labels, length - 1)]):
        if following < labels:
            early[following], late[following] = end - margin, end + margin
        between = slice(place + 1, following)
        count, size = following - place - 1, end - frame + 2 * margin + 1
        early[between], late[between] = frame - margin, end + margin
        if count * size > _GAP_NODES:
            line = np.rint(np.linspace(frame, end, count + 2)[1:-1]).astype(np.int64)
            half = max(margin, _GAP_NODES // (2 * count))
            early[between] = np.maximum(early[between], line - half)
            late[between] = np.minimum(late[between], line + half)
    early, late = early.clip(0), late.clip(max=length - 1)
    # Symbol u leads from column u to column u + 1.
    first = np.concatenate([[0], np.minimum.accumulate(early[::-1])[::-1]])
    last = np.concatenate([np.maximum.accumulate(late), [length - 1]])
    return Band(torch.from_numpy(first)[None], torch.from_numpy(last)[None])


def through(anchors: Sequence[tuple[int, int]], frames: Sequence[int]) -> list[int]:
    """Return the frames of a path that is led through the anchors. frames: of each symbol, never falling.

    A symbol that is no anchor keeps its frame, unless an anchor before it is later, or one after it earlier.
    """
    led = np.array(frames, np.int64)
    for (place, frame), (following, end) in zip([(-1, 0), *anchors], [*anchors, (len(led), None)]):
        led[place + 1 : following] = led[place + 1 : following].clip(frame, end)
        if end is not None:
            led[following] = end
    return led.tolist()
