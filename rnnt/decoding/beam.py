"""Beam search: the best few hypotheses at each frame. All streams of a batch and all their hypotheses advance together.

B streams, K hypotheses that stay, P = 2K places of a beam (see `frontier`), T frames of a chunk, W frames of a window,
N nodes (a hypothesis at a frame), C candidates of a node, M newcomers, L layers, D, H, V as ever.

A beam changes at few frames. So one product scores a window of frames for each hypothesis, and the host goes through
them (see `frontier`) up to the first frame at which another hypothesis enters the beam. Once every stream has met such
a frame or the end of its frames, the predictor runs for the newcomers. The joint scores the next window for them, and
for the others the frames that they lack.
"""

import math
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch

from rnnt.config import DecodingConfig
from rnnt.decoding.beam_state import BeamState, emission_of, places_of, ranked, settle_beam, to_frontier, to_state
from rnnt.decoding.frontier import Frontier, Newcomers, Window
from rnnt.decoding.hypothesis import Hypothesis
from rnnt.decoding.paths import path_symbols
from rnnt.decoding.rescoring import Emission, rescore
from rnnt.decoding.scorer import Scorer, Scorers, map_state, state_tensors
from rnnt.model import Transducer

# Frames of a window, and the most nodes that a stream may have in it. The cost is nearly the same from 3 to 6 on a CPU.
_CPU_WINDOW, _GPU_WINDOW, _NODES = 5, 16, 256
_HALF = math.log(0.5) + 1e-3  # a log-probability above which no other is as high, however rounding falls


class Beam:
    """Beam search over sequences of symbols (after Graves 2012, arXiv 1211.3711, section 2.5), a `Search`.

    The search goes from frame to frame and keeps the best `config.beam` hypotheses. Those with the same symbols are
    one, and their probabilities are added up. A frame adds at most `config.max_symbols_per_frame` symbols to a
    hypothesis, and a hypothesis has at most `max_symbols`. The scorers' scores decide which hypotheses stay.
    """

    def __init__(self, model: Transducer, config: DecodingConfig | None = None, scorers: Sequence[Scorer] = ()):
        self.model = model
        self.config = config or DecodingConfig()
        self.scorers = Scorers(scorers, self.config.blank_penalty)

    @torch.inference_mode()
    def start(self, batch: int, max_symbols: torch.Tensor | None = None) -> BeamState:
        """Return the state before the first frame. max_symbols: each stream's limit (B,), else the config's."""
        places = batch, 2 * self.config.beam
        rows = batch * places[1]
        output, predictor = self.model.predictor.start(rows)
        predicted = self.model.joint.project_predictor(output)
        zeros = torch.zeros(batch, dtype=torch.long)
        return BeamState(
            predicted.unflatten(0, places),
            tuple(x.unflatten(0, places) for x in predictor),
            map_state(self.scorers.start(rows), lambda x: x.unflatten(0, places)),
            zeros + self.config.max_symbols if max_symbols is None else max_symbols.cpu(),
            zeros,
            frames=((),) * batch,
            outputs=tuple(((None, first),) * places[1] for first in predicted[:: places[1]]),
            **to_state(Frontier.start(batch, self.config.beam, 2 if self.scorers.weighs_blank else 1)),
        )

    @torch.inference_mode()
    def advance(self, state: BeamState, encoder_BTD: torch.Tensor, lengths: torch.Tensor) -> BeamState:
        """Return the state after more frames (B, T, D) of each stream, the first `lengths` (B,) of which are valid."""
        return _Advance(self, state, encoder_BTD, lengths).run()

    @torch.inference_mode()
    def finish(self, state: BeamState) -> list[list[Hypothesis]]:
        """Return the hypotheses of each stream, best first. `state` stays usable: the stream may go on.

        They are in the order of `total`. frames and log_probs are those of the best alignment that was found. The
        scores are sums over all alignments near it (see `rescoring`): the search finds hypotheses, but misses
        alignments through prefixes that left the beam.
        """
        return self._finish(state, [places_of(paths) for paths in state.paths])

    @torch.inference_mode()
    def winners(self, state: BeamState) -> list[Hypothesis]:
        """Return the hypothesis of each stream that `finish` puts first, without its exact score.

        Faster: if the alignments that the search found give a hypothesis half of the probability, no other can have
        more, so no lattice is summed up. Scorers may rank others first, so with them there is no short cut.
        """
        lead, place = state.score[..., 0].max(1)
        sure = (lead > _HALF) & (not (self.scorers or self.scorers.weighs_blank))
        found = self._finish(state, [[] if done else places_of(paths) for done, paths in zip(sure, state.paths)])
        for b in sure.nonzero()[:, 0].tolist():
            emission = Emission(*path_symbols(state.paths[b][place[b]]), [])
            found[b] = [self._hypothesis(emission, 0, float(lead[b]), float(lead[b]), state, b)]
        return [best for best, *_ in found]

    def _finish(self, state: BeamState, rows: list[list[int]]) -> list[list[Hypothesis]]:
        """Do as `finish`, for the hypotheses at these places of each stream."""
        bonus = state.bonus
        if self.scorers:
            last = self.scorers.finish(map_state(state.scorers, lambda x: x.flatten(0, 1)))
            bonus = bonus + last.view_as(bonus).cpu()
        # Frames before those of symbols that are settled are forgotten.
        forgotten = [done - sum(map(len, chunks)) for done, chunks in zip(state.received.tolist(), state.frames)]
        emissions = [[emission_of(state, b, place, forgotten[b]) for place in places] for b, places in enumerate(rows)]
        frames = [torch.cat(chunks) if chunks else None for chunks in state.frames]
        scores = rescore(self.model.joint, frames, emissions, self.scorers)
        results = []
        for b, places in enumerate(rows):
            found = [
                self._hypothesis(emission, forgotten[b], score, steered + float(bonus[b, place]), state, b)
                for place, emission, (score, steered) in zip(places, emissions[b], scores[b])
            ]
            results.append(sorted(found, key=lambda hypothesis: -hypothesis.total))
        return results

    def best(self, state: BeamState) -> list[Hypothesis]:
        """Return the best hypothesis of each stream so far, as the search ranks them: by the alignments it found."""
        found = []
        for b, (places, ranks) in enumerate(ranked(state)):
            symbols = path_symbols(state.paths[b][places[0]])
            found.append(Hypothesis(*symbols, float(state.score[b, places[0], 0]), total=ranks[places[0]]))
        return found

    def last_frames(self, state: BeamState) -> list[list[int]]:
        """Return, for each stream, the frame of the last symbol of each hypothesis, the best first; -1 without one."""
        lines = [[paths[place] for place in places] for paths, (places, _) in zip(state.paths, ranked(state))]
        return [[path[2] if path else -1 for path in line] for line in lines]

    def settle(self, state: BeamState, tokens: Sequence[int], alone: bool) -> BeamState:
        """Return the state of a single stream that goes on after hypotheses that begin with `tokens`, or only these.

        The settled symbols are forgotten, and the frames before the first symbol that is left.
        """
        return settle_beam(state, tokens, alone)

    def _hypothesis(
        self, emission: Emission, forgotten: int, score: float, total: float, state: BeamState, stream: int
    ) -> Hypothesis:
        # As in greedy search: the limit was met while there were frames, or symbols of the last frame, to come.
        frames = [forgotten + frame for frame in emission.frames]
        last, limit = int(state.received[stream]) - 1, int(state.max_symbols[stream])
        done = frames.count(last) == self.config.max_symbols_per_frame
        truncated = len(frames) == limit and not done
        return Hypothesis(emission.tokens, frames, emission.log_probs, score, truncated, total)


class _Advance:
    """A chunk on its way through the search: the frontier on the host, and what the device keeps for it."""

    def __init__(self, search: Beam, state: BeamState, encoder_BTD: torch.Tensor, lengths: torch.Tensor):
        self.search, self.joint, self.state = search, search.model.joint, state
        self.projected_BTH = self.joint.project_encoder(encoder_BTD)
        self.lengths = lengths.cpu()
        batch, places, _ = state.predicted.shape
        beam = search.config.beam
        self.predicted_BPH = state.predicted.clone()
        self.predictor = tuple(x.clone() for x in state.predictor)
        self.outputs = [list(outputs) for outputs in state.outputs]
        self.states = map_state(state.scorers, torch.clone)
        if self.search.scorers:
            scores = self.search.scorers.scores(map_state(self.states, lambda x: x.flatten(0, 1)))
            self.scores_BPV = scores.unflatten(0, (batch, places)).clone()
        window = _CPU_WINDOW if encoder_BTD.device.type == "cpu" else _GPU_WINDOW
        window = max(1, min(window, _NODES // beam, encoder_BTD.shape[1]))
        labels = search.model.blank
        dtype = torch.promote_types(self.projected_BTH.dtype, torch.float32)
        self.log_probs_BPWV = torch.zeros(batch, places, window, labels, dtype=dtype, device=encoder_BTD.device)
        # At most K - 1 of a hypothesis's continuations are in the beam as well, and K of the others can enter.
        candidates = min(2 * beam - 1, labels)
        dtype = np.float64 if dtype == torch.float64 else np.float32
        self.window = Window.make(batch, places, window, candidates, state.score.shape[-1], dtype)
        self.frontier = to_frontier(state)
        limits = search.config.max_symbols_per_frame
        self.frontier.begin(self.window, state.max_symbols.numpy(), limits, state.received.numpy())

    def run(self) -> BeamState:
        lengths = self.lengths.numpy()
        fresh = np.zeros(self.frontier.key.shape, bool)  # (B, P), of newcomers
        while len(rows := np.flatnonzero(self.window.frame < lengths)):
            found = []
            while len(rows):
                # Hypotheses that newcomers displace leave at this frame, so they need no more frames than they have.
                ends = np.minimum(lengths[rows], self.window.frame[rows] + self.window.blank.shape[2])
                ends = np.where(fresh[rows].any(1), self.window.end[rows], ends)
                self._score(rows, ends, fresh)
                fresh[rows] = False
                found.append(self.frontier.run(rows))
                fresh[found[-1].stream, found[-1].place] = True
                rows = rows[(self.window.frame[rows] < lengths[rows]) & ~fresh[rows].any(1)]
            newcomers = Newcomers.join(found)
            if len(newcomers.stream):
                self._predict(newcomers)
        return BeamState(
            self.predicted_BPH,
            self.predictor,
            self.states,
            self.state.max_symbols,
            self.state.received + self.lengths,
            frames=tuple(
                (*chunks, frames[:length]) if length else chunks
                for chunks, frames, length in zip(self.state.frames, self.projected_BTH, lengths)
            ),
            outputs=tuple(map(tuple, self.outputs)),
            **to_state(self.frontier),
        )

    def _predict(self, newcomers: Newcomers) -> None:
        """Run the predictor and the scorers for the newcomers."""
        stream, place, parent, symbols = (
            torch.from_numpy(getattr(newcomers, item.name)).to(self.predicted_BPH.device) for item in fields(Newcomers)
        )
        output, after = self.search.model.predictor.step(symbols, tuple(x[stream, parent] for x in self.predictor))
        predicted = self.joint.project_predictor(output)
        for whole, new in zip((self.predicted_BPH, *self.predictor), (predicted, *after)):
            whole[stream, place] = new.to(whole.dtype)  # autocast may have begun since `start`
        before = [self.outputs[b][up] for b, up in zip(newcomers.stream, newcomers.parent)]
        for b, k, prefix, output in zip(newcomers.stream, newcomers.place, before, predicted):
            self.outputs[b][k] = prefix, output
        if self.search.scorers:
            states = map_state(self.states, lambda x: x[stream, parent])
            states = self.search.scorers.advance(states, symbols)
            for whole, new in zip(state_tensors(self.states), state_tensors(states)):
                whole[stream, place] = new
            self.scores_BPV[stream, place] = self.search.scorers.scores(states)

    def _score(self, rows: np.ndarray, ends: np.ndarray, fresh: np.ndarray) -> None:
        """Score the frames up to `ends` in some streams: all of them for newcomers, only later ones for the others."""
        window, frontier, width = self.window, self.frontier, self.window.blank.shape[2]
        row, place = np.nonzero(frontier.key[rows])
        stream, end = rows[row], ends[row]
        first = np.where(fresh[stream, place], window.frame[stream], window.end[stream])
        which, frame = np.nonzero(first[:, None] + np.arange(width) < end[:, None])
        stream, place, frame = stream[which], place[which], first[which] + frame
        window.end[rows] = ends
        device = self.projected_BTH.device
        b, k, t, w = torch.from_numpy(np.stack((stream, place, frame, frame % width))).to(device)
        logits_NV = self.joint(self.projected_BTH[b, t], self.predicted_BPH[b, k])
        log_probs_NV = torch.log_softmax(logits_NV.to(self.log_probs_BPWV.dtype), -1)
        labels_NV, blank_N = log_probs_NV[:, :-1], log_probs_NV[:, -1]
        self.log_probs_BPWV[b, k, w] = labels_NV
        values_NV, shifts = labels_NV, (blank_N.new_zeros(0), blank_N.new_zeros(0))
        if self.search.scorers:
            values_NV = labels_NV + self.scores_BPV[b, k].to(labels_NV.dtype)
        if self.search.scorers.weighs_blank:
            shifts = self.search.scorers.shifts(labels_NV.logsumexp(-1), blank_N)
            values_NV = values_NV + shifts[0][:, None]
        values_NC, symbols_NC = values_NV.topk(window.symbols.shape[3])
        families = frontier.families(rows)
        b, k, up = torch.from_numpy(np.stack(families)).to(device)
        symbol = torch.from_numpy(frontier.symbol[families[0], families[1]]).to(device)
        arcs = self.log_probs_BPWV[b, up, :, symbol]
        node = stream, place, frame % width
        found = [blank_N, *shifts, values_NC, symbols_NC, labels_NV.gather(1, symbols_NC), arcs]
        blank, shift, of_blank, values, symbols, log_probs, arcs = _to_host(found)
        window.values[node], window.symbols[node], window.log_probs[node] = values, symbols, log_probs
        window.blank[node] = blank[:, None]
        if len(shift):
            window.blank[(*node, 1)] += of_blank
            window.shift[(*node, 1)] = shift
        frontier.link(rows, families, arcs)


@torch.inference_mode()
def beam(
    model: Transducer,
    encoder_BTD: torch.Tensor,
    encoder_lengths: torch.Tensor,
    config: DecodingConfig | None = None,
    scorers: Sequence[Scorer] = (),
    max_symbols: torch.Tensor | None = None,
) -> list[list[Hypothesis]]:
    """Decode whole utterances: encoder frames (B, T, D) with lengths (B,) -> hypotheses of each, best first.

    max_symbols: each utterance's limit (B,), else the config's. Raises ValueError for a model with durations.
    """
    if model.joint.durations:
        raise ValueError("this is a token-and-duration model; decode it with DurationBeam, or with its recognizer")
    search = Beam(model, config, scorers)
    return search.finish(search.advance(search.start(len(encoder_BTD), max_symbols), encoder_BTD, encoder_lengths))


def _to_host(tensors: list[torch.Tensor]) -> list[np.ndarray]:
    """Copy tensors to the host, in one copy from a GPU. A float holds every symbol's number exactly."""
    if tensors[0].device.type == "cpu":
        return [x.numpy() for x in tensors]
    together = torch.cat([x.flatten().to(tensors[0].dtype) for x in tensors]).cpu()
    parts = together.split([x.numel() for x in tensors])
    return [part.view(x.shape).numpy() for part, x in zip(parts, tensors)]
