"""The interface of all ways to decode: greedy search and beam search."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import torch

from rnnt.decoding.hypothesis import Hypothesis

State = TypeVar("State")


class Search(Protocol[State]):
    """Decodes encoder frames, as many at a time as there are.

    Whole utterances are decoded by `finish(advance(start(B), encoder_BTD, lengths))`, streams by one `advance` for each
    chunk. Both give the same hypotheses, whatever the chunks are, and no stream's result depends on the others in its
    batch. A search holds no state: `advance` returns a new one and does not change the old one.
    """

    def start(self, batch: int) -> State:
        """Return the state of `batch` streams before their first frame."""

    def advance(self, state: State, encoder_BTD: torch.Tensor, lengths: torch.Tensor) -> State:
        """Return the state after more frames (B, T, D) of each stream, the first `lengths` (B,) of which are valid.

        A length may be 0. Frames beyond the lengths may hold anything.
        """

    def finish(self, state: State) -> list[list[Hypothesis]]:
        """Return the hypotheses of each stream, best first. `state` stays usable: the stream may go on."""

    def best(self, state: State) -> list[Hypothesis]:
        """Return the best hypothesis of each stream so far, for streams that go on. It may change with more frames."""

    def last_frames(self, state: State) -> list[list[int]]:
        """Return, for each stream, the frame of the last symbol of each hypothesis, the best first; -1 without one."""

    def settle(self, state: State, tokens: Sequence[int], alone: bool) -> State:
        """Return the state of a single stream whose first symbols are settled. They are no longer in its hypotheses.

        Hypotheses that do not begin with these symbols are dropped, and if `alone`, those that go on after them as
        well. What follows is predicted as if nothing had happened. So the memory of a long stream is bounded.
        """
