"""Words as cues: limits of lines and seconds, places to divide, and texts without spaces."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnt.subtitles import MOST_CHARACTERS, MOST_SECONDS, cues_of
from rnnt.transcript import Word


def words(*items):
    return [Word(text, start, end, 1.0) for text, start, end in items]


def spoken(lines):
    return "".join("".join(lines).split())


@st.composite
def speech(draw):
    time, found = 0.0, []
    for _ in range(draw(st.integers(0, 40))):
        time += draw(st.sampled_from([0.0, 0.0, 0.05, 0.3, 0.9, 1.0, 5.0]))
        length = draw(st.sampled_from([0.0, 0.1, 0.4, 2.0, 9.0]))
        found.append(Word("x" * draw(st.sampled_from([1, 3, 7, 20, 42, 43, 100, 300])), time, time + length, 1.0))
        time += length
    return found, time + draw(st.sampled_from([0.0, 3.0]))


@given(speech())
def test_cues_keep_the_limits_and_every_character(case):
    found, seconds = case
    cues = cues_of(found, seconds)
    assert spoken(line for cue in cues for line in cue.lines) == "".join(word.word for word in found)
    for cue in cues:
        assert 1 <= len(cue.lines) <= 2 and all(1 <= len(line) <= MOST_CHARACTERS for line in cue.lines)
        assert 0 <= cue.end - cue.start <= MOST_SECONDS + 1e-6 and cue.start >= 0 and cue.end <= seconds + 1e-6
    for cue, following in pairwise(cues):
        assert cue.end <= following.start + 1e-6


def test_nothing_gives_no_cue():
    assert cues_of([], 3.0) == [] and cues_of(words(("", 0.0, 1.0)), 3.0) == []


def test_a_short_cue_is_shown_for_a_second_if_there_is_time():
    first, second = cues_of(words(("yes", 1.0, 1.2), ("no", 2.9, 3.0)), 3.4)
    assert (first.start, first.end) == (1.0, 2.0) and (second.start, second.end) == (2.9, 3.4)
    first, _ = cues_of(words(("yes", 1.0, 1.2), ("no", 2.2, 3.0)), 3.4)
    assert first.end == 2.0


def test_a_pause_of_a_second_ends_a_cue():
    cues = cues_of(words(("one", 0.0, 0.5), ("two", 0.9, 1.2), ("three", 2.3, 2.6)), 4.0)
    assert [cue.lines for cue in cues] == [["one two"], ["three"]]


@pytest.mark.parametrize("pause", range(4, 9))
def test_a_long_text_is_divided_at_its_longest_pause(pause):
    time, found = 0.0, []
    for i in range(14):
        time += 0.3 if i == pause else 0.02
        found.append((f"word{i:02d}", time, time + 0.6))
        time += 0.6
    first, second = cues_of(words(*found), time)
    assert " ".join(second.lines).startswith(f"word{pause:02d}")
    assert first.end <= second.start


def test_lines_of_a_cue_are_about_equally_long():
    (cue,) = cues_of(words(*((text, i / 10, i / 10 + 0.1) for i, text in enumerate(["abcd"] * 10))), 1.0)
    assert cue.lines == ["abcd abcd abcd abcd abcd"] * 2


def test_a_text_without_spaces_is_divided_by_its_characters():
    text = "".join(random.Random(0).choices("春夏秋冬山川", k=200))
    cues = cues_of(words((text, 2.0, 22.0)), 22.0)
    assert "".join(line for cue in cues for line in cue.lines) == text
    assert cues[0].start == 2.0 and cues[-1].end == 22.0
    assert cues[1].start == pytest.approx(2.0 + 20 * len("".join(cues[0].lines)) / 200)
