"""Beam search for token-and-duration transducers: the best few hypotheses that arrive at each frame.

A hypothesis goes on from a frame by a symbol or a blank and by a duration, whose log-probabilities are added. So it
arrives at several later frames, and waits there for the search to come. Those that wait at a frame with the same
symbols are one, and their probabilities are added up. As in `DurationGreedy`, a blank goes on by one frame at least,
and so does the last symbol that a frame may emit.

R rows (hypotheses at the present frames of all streams), C candidates, B, T, D, H, V as ever.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from rnnt.config import DecodingConfig
from rnnt.decoding.durations import split_logits
from rnnt.decoding.hypothesis import Hypothesis
from rnnt.decoding.paths import Path, make_path, path_symbols
from rnnt.decoding.scorer import Scorer, Scorers
from rnnt.model import Transducer
from rnnt.stream_states import join_states, split_state


@dataclass(slots=True, eq=False)
class Prefix:
    """The symbols of a hypothesis: the prefix without the last one, and that symbol.

    outputs: (predictor's projected output (1, H), predictor's state, scorers' states, scorers' scores (1, V-1)), which
    are computed once the search goes on after the prefix. longer: the prefixes with one more symbol, by that symbol.
    """

    before: "Prefix | None" = None
    symbol: int = -1
    outputs: tuple | None = None
    longer: dict[int, "Prefix"] = field(default_factory=dict)

    def add(self, symbol: int) -> "Prefix":
        """Return the prefix with one more symbol. It is one object, so its outputs are computed once."""
        return self.longer.setdefault(symbol, Prefix(self, symbol))


@dataclass(frozen=True, slots=True)
class Branch:
    """A hypothesis that waits at a frame.

    key: stands for its symbols; count: their number. score: log-probability of all its paths that arrive here; total:
    the same with the scorers' scores. best: of its most probable path, which is `path`.
    """

    key: int
    count: int
    prefix: Prefix
    path: Path
    score: float
    total: float
    best: float

    def go_on(self, score: float, total: float) -> "Branch":
        """Return the branch after a step without a symbol, of these log-probabilities."""
        return replace(self, score=self.score + score, total=self.total + total, best=self.best + score)


Waiting = dict[int, dict[int, Branch]]  # frame -> key -> hypothesis


class DurationBeamState(NamedTuple):
    """The progress of each stream. Every field is a tuple with an entry for each."""

    LISTS = ("waiting", "received", "max_symbols")  # see `rnnt.stream_states`
    waiting: tuple[Waiting, ...]  # at frames that are still to come
    received: tuple[int, ...]  # frames so far
    max_symbols: tuple[int, ...]


class DurationBeam:
    """Beam search with durations, a `Search`.

    The best `config.beam` hypotheses that arrive at a frame go on from there, and so do as many of those that a symbol
    of duration 0 makes there. A frame emits at most `config.max_symbols_per_frame` symbols of a hypothesis, and a
    hypothesis has at most `max_symbols`. A hypothesis's score is the sum over all paths that were found. Its log_probs
    are those of the symbols alone.
    """

    def __init__(self, model: Transducer, config: DecodingConfig | None = None, scorers: Sequence[Scorer] = ()):
        self.model = model
        self.config = config or DecodingConfig()
        self.scorers = Scorers(scorers, self.config.blank_penalty)

    @torch.inference_mode()
    def start(self, batch: int, max_symbols: torch.Tensor | None = None) -> DurationBeamState:
        """Return the state before the first frame. max_symbols: each stream's limit (B,), else the config's."""
        limits = [self.config.max_symbols] * batch if max_symbols is None else max_symbols.tolist()
        waiting = []
        for outputs in split_state(
            self._with_scores(*self.model.predictor.start(batch), self.scorers.start(batch)), batch
        ):
            waiting.append({0: {0: Branch(0, 0, Prefix(outputs=outputs), (), 0.0, 0.0, 0.0)}})
        return DurationBeamState(tuple(waiting), (0,) * batch, tuple(limits))

    @torch.inference_mode()
    def advance(self, state: DurationBeamState, encoder_BTD: torch.Tensor, lengths: torch.Tensor) -> DurationBeamState:
        """Return the state after more frames (B, T, D) of each stream, the first `lengths` (B,) of which are valid."""
        projected_BTH = self.model.joint.project_encoder(encoder_BTD)
        lengths = lengths.tolist()
        waiting = [{frame: dict(found) for frame, found in each.items()} for each in state.waiting]
        for t in range(max(lengths)):
            present = {b: state.received[b] + t for b, length in enumerate(lengths) if t < length}
            here = {b: waiting[b].pop(frame, {}) for b, frame in present.items()}
            for emitted in range(1, self.config.max_symbols_per_frame + 1):
                rows = [(b, branch) for b, found in here.items() for branch in self._best(found)]
                if not rows:
                    break
                here = {b: {} for b in here}
                last = emitted == self.config.max_symbols_per_frame
                scored = self._score(projected_BTH[[b for b, _ in rows], t], [branch.prefix for _, branch in rows])
                for (b, branch), scores in zip(rows, scored):
                    can_grow = branch.count < state.max_symbols[b]
                    self._go_on(branch, scores, present[b], waiting[b], None if last else here[b], can_grow)
        received = tuple(before + length for before, length in zip(state.received, lengths))
        return DurationBeamState(tuple(waiting), received, state.max_symbols)

    @torch.inference_mode()
    def finish(self, state: DurationBeamState) -> list[list[Hypothesis]]:
        """Return the hypotheses of each stream, best first. `state` stays usable: the stream may go on."""
        results = []
        for stream, found in enumerate(map(_merged, state.waiting)):
            totals = [branch.total for branch in found]
            if self.scorers:
                self._predict([branch.prefix for branch in found])
                bonus = self.scorers.finish(join_states([branch.prefix.outputs[2] for branch in found]))
                totals = [total + float(last) for total, last in zip(totals, bonus)]
            hypotheses = [self._hypothesis(*each, state, stream) for each in zip(found, totals)]
            results.append(sorted(hypotheses, key=lambda each: -each.total)[: self.config.beam])
        return results

    def best(self, state: DurationBeamState) -> list[Hypothesis]:
        """Return the best hypothesis of each stream so far, without what scorers add at the end."""
        found = (_merged(waiting)[0] for waiting in state.waiting)
        return [self._hypothesis(branch, branch.total, state, stream) for stream, branch in enumerate(found)]

    def last_frames(self, state: DurationBeamState) -> list[list[int]]:
        """Return, for each stream, the frame of the last symbol of each hypothesis, the best first; -1 without one."""
        lines = [_merged(waiting)[: self.config.beam] for waiting in state.waiting]
        return [[branch.path[2] if branch.path else -1 for branch in line] for line in lines]

    def settle(self, state: DurationBeamState, tokens: Sequence[int], alone: bool) -> DurationBeamState:
        """Return the state of a single stream that goes on after hypotheses that begin with `tokens`, or only these."""
        count, tokens, (before,) = len(tokens), list(tokens), state.waiting
        waiting: Waiting = {}
        for frame, found in before.items():
            for key, branch in found.items():
                symbols = path_symbols(branch.path)
                if symbols[0][: None if alone else count] == tokens:
                    rest = make_path(*(each[count:] for each in symbols))
                    waiting.setdefault(frame, {})[key] = replace(branch, path=rest)
        return state._replace(waiting=(waiting,))

    def _best(self, found: dict[int, Branch]) -> list[Branch]:
        return sorted(found.values(), key=lambda branch: -branch.total)[: self.config.beam]

    def _go_on(
        self,
        branch: Branch,
        scores: tuple[list, ...],
        frame: int,
        waiting: Waiting,
        here: dict[int, Branch] | None,
        can_grow: bool,
    ) -> None:
        """Let a hypothesis go on from a frame by each candidate and each duration.

        scores: a row of `_score`. here: those that go on from this frame; None if it may emit no more symbols.
        """
        blank, steered_blank, symbols, log_probs, steered, durations = scores
        after = [branch.go_on(blank, steered_blank)]
        if can_grow:
            for symbol, log_prob, value in zip(symbols, log_probs, steered):
                if value > -math.inf:
                    prefix, path = branch.prefix.add(symbol), (branch.path, symbol, frame, log_prob)
                    key = hash((branch.key, symbol))
                    longer = replace(branch, key=key, count=branch.count + 1, prefix=prefix, path=path)
                    after.append(longer.go_on(log_prob, value))
        for each in after:
            stays = here is not None and each.count > branch.count
            for duration, log_prob in zip(self.model.joint.durations, durations):
                there = here
                if duration or not stays:
                    there = waiting.setdefault(frame + max(duration, 1), {})
                _put(there, each.go_on(log_prob, log_prob))

    def _score(self, frames_RH: torch.Tensor, prefixes: Sequence[Prefix]) -> list[tuple[list, ...]]:
        """Return, for each row, the log-probabilities of what may come next.

        They are: blank's, and the same with the scorers' weights; the candidates (C,), their log-probabilities and
        these with the scorers' scores; the durations' log-probabilities.
        """
        self._predict(prefixes)
        predicted_RH = torch.cat([prefix.outputs[0] for prefix in prefixes])
        logits_RV, durations = split_logits(self.model, self.model.joint(frames_RH, predicted_RH))
        logits_RV = logits_RV.to(torch.promote_types(logits_RV.dtype, torch.float32))
        log_probs_RV = steered_RV = torch.log_softmax(logits_RV, -1)
        if self.scorers or self.scorers.weighs_blank:
            added = torch.cat([prefix.outputs[3] for prefix in prefixes]) if self.scorers else torch.zeros(())
            steered_RV = self.scorers.steer(log_probs_RV, added.to(log_probs_RV.dtype))
        values_RC, symbols_RC = steered_RV[:, :-1].topk(min(self.config.beam, self.model.blank))
        return list(
            zip(
                log_probs_RV[:, -1].tolist(),
                steered_RV[:, -1].tolist(),
                symbols_RC.tolist(),
                log_probs_RV.gather(1, symbols_RC).tolist(),
                values_RC.tolist(),
                torch.log_softmax(durations.to(logits_RV.dtype), -1).tolist(),
            )
        )

    def _predict(self, prefixes: Sequence[Prefix]) -> None:
        """Run the predictor and the scorers for the prefixes that have no outputs yet."""
        new = list(dict.fromkeys(prefix for prefix in prefixes if prefix.outputs is None))
        if not new:
            return
        _, predictor, scorers, _ = join_states([prefix.before.outputs for prefix in new])
        symbols = torch.tensor([prefix.symbol for prefix in new], device=predictor[0].device)
        scorers = self.scorers.advance(scorers, symbols)
        outputs = self._with_scores(*self.model.predictor.step(symbols, predictor), scorers)
        for prefix, each in zip(new, split_state(outputs, len(new))):
            prefix.outputs, prefix.before = each, None

    def _with_scores(self, output_RD: torch.Tensor, predictor: tuple, scorers: tuple) -> tuple:
        scores = self.scorers.scores(scorers) if self.scorers else ()
        return self.model.joint.project_predictor(output_RD), predictor, scorers, scores

    def _hypothesis(self, branch: Branch, total: float, state: DurationBeamState, stream: int) -> Hypothesis:
        tokens, frames, log_probs = path_symbols(branch.path)
        # As in the search without durations: frames, or symbols of the last frame, may be to come.
        done = frames.count(state.received[stream] - 1) == self.config.max_symbols_per_frame
        truncated = branch.count == state.max_symbols[stream] and not done
        return Hypothesis(tokens, frames, log_probs, branch.score, truncated, total)


def _merged(waiting: Waiting) -> list[Branch]:
    """Return the hypotheses at all frames together, best first."""
    together: dict[int, Branch] = {}
    for found in waiting.values():
        for branch in found.values():
            _put(together, branch)
    return sorted(together.values(), key=lambda branch: -branch.total)


def _put(place: dict[int, Branch], new: Branch) -> None:
    """Add a hypothesis to those that wait. Equal symbols have one entry with the sum of the probabilities."""
    old = place.get(new.key)
    if old is not None:
        better = new if new.best > old.best else old
        new = replace(better, score=_add(old.score, new.score), total=_add(old.total, new.total))
    place[new.key] = new


def _add(one: float, other: float) -> float:
    """Return the logarithm of the sum of two probabilities."""
    high, low = max(one, other), min(one, other)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
