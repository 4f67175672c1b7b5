"""Rules for the end of an utterance in a stream: after a pause, or when it has become long. They are those of Kaldi.

A frame that emits no symbol counts as silence, unless a detector of voice activity hears speech in it. Endpoints follow
from the frames of symbols and of speech alone, so they do not depend on the chunks in which a stream came.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

_NEVER = 1 << 62  # frames


@dataclass(frozen=True)
class EndpointRules:
    """When an utterance ends, in seconds. Infinity switches a rule off.

    rule1_min_trailing_silence: silence, if nothing was said before it. rule2_min_trailing_silence: silence after
    something was said. rule3_min_utterance_length: length of an utterance, whatever was said.
    """

    rule1_min_trailing_silence: float = 2.4
    rule2_min_trailing_silence: float = 1.2
    rule3_min_utterance_length: float = 20.0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:  # false of NaN too
                raise ValueError(f"{field.name} is {value}; it must be above 0, in seconds, or infinite for never")

    def in_frames(self, frame_seconds: float) -> "FrameRules":
        """Return the rules in encoder frames of so many seconds."""
        values = (getattr(self, field.name) / frame_seconds for field in fields(self))
        # Rounded first: 1.2 / 0.06 is a little more than 20.
        return FrameRules(*(_NEVER if math.isinf(x) else max(math.ceil(round(x, 6)), 1) for x in values))


class FrameRules(NamedTuple):
    """The fields of `EndpointRules` in encoder frames."""

    rule1: int
    rule2: int
    rule3: int


def endpoint_rule(rules: FrameRules, start: int, received: int, last: int, voiced: int = -1) -> int:
    """Return the number of the rule by which the utterance ends now; 0 if it goes on.

    start: the utterance's first frame in the stream. received: frames of the stream so far. last: the frame of the
    utterance's last symbol; -1 if it has none. voiced: the stream's last frame in which a detector heard speech; -1 if
    there is none.
    """
    if last < 0 and received - max(start, voiced + 1) >= rules.rule1:
        return 1
    if last >= 0 and received - max(last, voiced) - 1 >= rules.rule2:
        return 2
    return 3 if received - start >= rules.rule3 else 0


def frames_until(rules: FrameRules, start: int, received: int, lasts: Sequence[int], voiced: int = -1) -> int:
    """Return how many frames can come, at least 1, before the utterance may end.

    start, received, voiced: as in `endpoint_rule`. lasts: the frame of the last symbol of each hypothesis, -1 without
    symbols.
    """
    after = voiced + 1
    ends = [max(start, after) + rules.rule1 if last < 0 else max(last + 1, after) + rules.rule2 for last in lasts]
    emitting = received + 1 + rules.rule2  # the end of one that emits a symbol at the next frame
    return max(min(*ends, emitting, start + rules.rule3) - received, 1)
