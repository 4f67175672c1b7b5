"""The end of an utterance: the three rules, at the frame at which each is first true."""

import math

import pytest

from rnnt.decoding.endpoint import EndpointRules, FrameRules, endpoint_rule, frames_until

RULES = FrameRules(8, 4, 30)


def test_the_defaults_are_those_of_the_field():
    assert EndpointRules().in_frames(0.06) == (40, 20, 334)
    assert EndpointRules(0.5, math.inf, 1.0).in_frames(0.3) == (2, 1 << 62, 4)


@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_times_that_are_not_positive_are_refused(value):
    with pytest.raises(ValueError, match=r"rule2_min_trailing_silence is .*; it must be above 0"):
        EndpointRules(rule2_min_trailing_silence=value)


@pytest.mark.parametrize(
    ("start", "received", "last", "rule"),
    [
        (10, 17, -1, 0),  # silence after nothing
        (10, 18, -1, 1),
        (10, 18, 14, 0),  # frames 15 to 17 are silent
        (10, 19, 14, 2),
        (10, 19, 15, 0),
        (10, 39, 38, 0),
        (10, 40, 39, 3),
        (0, 30, -1, 1),
        (0, 30, 20, 2),
    ],
)
def test_each_rule_ends_an_utterance(start, received, last, rule):
    assert endpoint_rule(RULES, start, received, last) == rule


@pytest.mark.parametrize(
    ("start", "received", "last", "voiced", "rule"),
    [
        (10, 20, -1, 12, 0),  # a voice that says no word
        (10, 21, -1, 12, 1),
        (10, 18, -1, 9, 1),  # that of the utterance before
        (10, 20, 14, 16, 0),
        (10, 21, 14, 16, 2),
        (10, 19, 14, 12, 2),
        (10, 40, 14, 39, 3),
    ],
)
def test_frames_with_a_voice_are_no_silence(start, received, last, voiced, rule):
    assert endpoint_rule(RULES, start, received, last, voiced) == rule


@pytest.mark.parametrize("last", [-1, 10, 12, 36, 39])
@pytest.mark.parametrize("voiced", [-1, 9, 10, 14, 38])
@pytest.mark.parametrize("rules", [RULES, FrameRules(4, 8, 30)])
def test_no_rule_is_met_before_the_frames_that_can_come(rules, last, voiced):
    start = 10
    received = max(last, start, voiced) + 1
    wait = frames_until(rules, start, received, [last], voiced)

    def ends(more):  # with a symbol at any of the frames to come, or none
        lasts = [last, *range(received, received + more)]
        return any(endpoint_rule(rules, start, received + more, each, voiced) for each in lasts)

    assert not any(map(ends, range(1, wait))) and ends(wait)


def test_the_hypothesis_that_ends_first_counts():
    assert frames_until(RULES, 0, 12, [11, 9, -1]) == 1  # the one without symbols has waited for 12 frames
    assert frames_until(RULES, 0, 12, [11, 9]) == 2
    assert frames_until(RULES, 0, 12, [11]) == 4
    assert frames_until(RULES, 10, 11, [-1]) == 5  # a symbol at frame 11 may be the last
