"""Anchors of texts that differ from what was heard, and the bands around them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnt import anchors as module
from rnnt.anchors import anchored_band, find_anchors, through
from rnnt.tokenizer import Symbols

LETTERS = Symbols("characters", list(" abcdefghijklmnopqrstuvwxyz"))
SIGNS = Symbols("characters", [chr(0x4E00 + i) for i in range(200)])


def anchored(said, heard, tokenizer=LETTERS):
    """The anchors as (symbol, frame); a heard symbol is emitted at twice its place."""
    tokens = tokenizer.encode(said)
    found = tokenizer.encode(heard)
    result = find_anchors(tokenizer, tokens, found, [2 * i for i in range(len(found))])
    assert result == sorted(result) and all(tokens[place] == found[frame // 2] for place, frame in result)
    return result


def test_a_right_text_is_anchored_whole():
    text = "the quick brown fox"
    spoken = [(i, 2 * i) for i, letter in enumerate(text) if letter != " "]
    assert anchored(text, text) == spoken
    assert anchored("fox", "fox") == [(0, 0), (1, 2), (2, 4)]


def test_only_runs_of_words_are_anchors():
    assert anchored("the quick brown fox jumps", "the slow brown fox leaps") == [
        (i, 2 * i - 2) for i in (*range(10, 15), *range(16, 19))
    ]
    assert anchored("a cat and a dog", "the bird or a fish") == []
    assert anchored("one two", "") == []


def test_a_text_without_spaces_is_compared_by_symbols():
    text = "".join(SIGNS.symbols[:100])
    found = anchored(text, text[:40] + text[60:], SIGNS)
    assert [place for place, _ in found] == [*range(40), *range(60, 100)]


@st.composite
def places(draw):
    length, labels = draw(st.integers(1, 60)), draw(st.integers(0, 40))
    chosen = draw(st.lists(st.integers(0, max(labels - 1, 0)), unique=True, max_size=labels))
    frames = sorted(draw(st.lists(st.integers(0, length - 1), min_size=len(chosen), max_size=len(chosen))))
    return length, labels, list(zip(sorted(chosen), frames))


@given(places(), st.integers(0, 9), st.sampled_from([4_000_000, 20]))
def test_a_band_holds_every_path_near_the_anchors(case, margin, most):
    length, labels, found = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_GAP_NODES", most)
        band = anchored_band(found, length, labels, margin)
    first, last = (x[0].numpy() for x in band)
    assert len(first) == labels + 1 and first[0] == 0 and last[-1] == length - 1
    assert (np.diff(first) >= 0).all() and (np.diff(last) >= 0).all() and (first[1:] <= last[:-1]).all()
    assert first.min() >= 0 and last.max() < length
    early, late = first[1:], last[:-1]  # when each symbol may be emitted
    for place, frame in found:
        assert early[place] <= max(frame - margin, 0) and late[place] >= min(frame + margin, length - 1)
    if most > 20:
        edges = [(-1, 0), *found, (labels, length - 1)]
        for (place, frame), (following, end) in pairwise(edges):
            assert (early[place + 1 : following] <= frame).all() and (late[place + 1 : following] >= end).all()


@given(places(), st.data())
def test_a_path_is_led_through_the_anchors(case, data):
    length, labels, found = case
    path = sorted(data.draw(st.lists(st.integers(0, length - 1), min_size=labels, max_size=labels)))
    led = through(found, path)
    assert led == sorted(led) and all(led[place] == frame for place, frame in found)
    assert through([], path) == path
