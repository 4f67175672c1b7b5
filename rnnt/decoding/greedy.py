"""Greedy decoding: at each frame the best symbol, until that is blank. All streams of a batch advance together.

B streams, R rows (the streams with frames left in this chunk), T frames of a chunk, N = B T frames in all, W frames of
a window, D encoder width, H joint width, V symbols with blank.

Most frames emit nothing. So one product scores a window of frames of each row against the row's present predictor
output, and the row moves to the first frame whose best symbol is not blank (WIND, arXiv 2505.13765). Once every row has
found its next symbol or the end of its frames, the predictor runs for the rows that found one (label-looping,
arXiv 2406.06220); the others leave. The device computes the scores, and the host decides, after one copy a window.

Scorers see symbols, not frames. So their scores hold for a whole window too, and the search stays exact with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from rnnt.config import DecodingConfig
from rnnt.decoding.hypothesis import Hypothesis
from rnnt.decoding.scorer import Scorer, Scorers, map_state, state_tensors
from rnnt.model import Transducer

# Frames of a window. The cost is nearly the same from 6 to 8 on a CPU; a GPU scores more of them in the same time.
_CPU_WINDOW, _GPU_WINDOW = 8, 16


@dataclass(frozen=True)
class _Path:
    """The symbols that a stream emitted in one chunk, linked to those of the chunks before."""

    before: "_Path | None"
    tokens: list[int]
    frames: list[int]
    log_probs: list[float]


class GreedyState(NamedTuple):
    """The progress of each stream. Every field has the streams as dim 0, or is a tuple with an entry for each.

    `predicted`, `predictor` and `scorers` are on the model's device, the other fields on the host.
    """

    LISTS = ("paths",)  # fields with an entry for each stream (see `rnnt.stream_states`)
    predicted: torch.Tensor  # (B, H), the predictor's projected output
    predictor: tuple[torch.Tensor, ...]  # the predictor's state
    max_symbols: torch.Tensor  # (B,)
    symbols: torch.Tensor  # (B,), emitted so far
    received: torch.Tensor  # (B,), frames so far
    decoded: torch.Tensor  # (B,), frames done; fewer than `received` if the stream has met `max_symbols`
    score: torch.Tensor  # (B,), log-probability of the path, float64
    paths: tuple[_Path | None, ...]
    scorers: tuple  # the scorers' states


@dataclass(slots=True)
class GreedyStream:
    """A stream on its way through a chunk."""

    number: int  # in the batch
    length: int  # of the chunk
    symbols: int  # emitted so far, in all chunks
    max_symbols: int
    frame: int  # the present one, counted from the start of the chunk
    at_frame: int = 0  # symbols that it has emitted
    symbol: int | None = None  # that the present search in windows has found
    score: float = 0.0
    tokens: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)

    def read(self, best: list[float], log_probs: list[float], blank: int, max_per_frame: int) -> bool:
        """Go through the best symbols of a window up to the first that is not blank.

        Returns whether the search is over: a symbol was found, or there are no more frames.
        """
        for symbol, log_prob in zip(best, log_probs[: self.length - self.frame]):
            self.score += log_prob
            if symbol != blank:
                self.emit(int(symbol), log_prob, max_per_frame)
                return True
            self.frame, self.at_frame = self.frame + 1, 0
        return self.frame == self.length

    def emit(self, symbol: int, log_prob: float, max_per_frame: int, duration: int = 0) -> None:
        """Take a symbol of the present frame, and go on by its duration, or to the next frame if this one is full."""
        self.symbol = symbol
        self.symbols += 1
        self.tokens.append(symbol)
        self.frames.append(self.frame)
        self.log_probs.append(log_prob)
        self.at_frame += 1
        if duration or self.at_frame == max_per_frame:
            self.frame, self.at_frame = self.frame + max(duration, 1), 0


class Greedy:
    """Greedy search (Graves 2012, arXiv 1211.3711), a `Search`.

    A frame emits its best symbol until that is blank, or until it has emitted `config.max_symbols_per_frame`. A stream
    emits at most `max_symbols` symbols in all. `config.blank_penalty` changes which symbol is the best, but no score.

    The model alone decides whether a frame emits a symbol, and the sum of its log-probability and the scorers' scores
    decides which (as in NGPU-LM, arXiv 2505.22857). So hot words insert nothing in silence, and a language model leaves
    nothing out; `blank_weight` has no use here. A hypothesis's log-probabilities and score are the model's.
    """

    stream_type: type[GreedyStream] = GreedyStream

    def __init__(self, model: Transducer, config: DecodingConfig | None = None, scorers: Sequence[Scorer] = ()):
        self.model = model
        self.config = config or DecodingConfig()
        self.scorers = Scorers(scorers)

    @torch.inference_mode()
    def start(self, batch: int, max_symbols: torch.Tensor | None = None) -> GreedyState:
        """Return the state before the first frame. max_symbols: each stream's limit (B,), else the config's."""
        output, predictor = self.model.predictor.start(batch)
        predicted = self.model.joint.project_predictor(output)
        zeros = torch.zeros(batch, dtype=torch.long)
        limits = zeros + self.config.max_symbols if max_symbols is None else max_symbols.cpu()
        counts = limits, zeros, zeros, zeros, zeros.double()
        return GreedyState(predicted, predictor, *counts, (None,) * batch, self.scorers.start(batch))

    @torch.inference_mode()
    def advance(self, state: GreedyState, encoder_BTD: torch.Tensor, lengths: torch.Tensor) -> GreedyState:
        """Return the state after more frames (B, T, D) of each stream, the first `lengths` (B,) of which are valid."""
        projected_BTH = self.model.joint.project_encoder(encoder_BTD)
        lengths = lengths.cpu()
        first = (state.decoded - state.received).clamp(min=0)  # above 0 only in a search with durations
        counts = (x.tolist() for x in (lengths, state.symbols, state.max_symbols, first))
        streams = [self.stream_type(number, *each) for number, each in enumerate(zip(*counts))]
        rows = [stream for stream in streams if stream.length and stream.symbols < stream.max_symbols]
        whole = state.predicted, state.predictor, state.scorers
        present = _select(whole, [row.number for row in rows])
        left = map_state(whole, torch.clone)  # filled in as streams leave
        while rows:
            predicted_RH, predictor, scorers = present
            scores_RV = self.scorers.scores(scorers) if self.scorers else None
            self._find_symbols(projected_BTH, rows, predicted_RH, scores_RV)
            stay = [i for i, row in enumerate(rows) if row.symbol is not None and row.symbols < row.max_symbols]
            if len(stay) < len(rows):
                leave = sorted(set(range(len(rows))) - set(stay))
                numbers = torch.tensor([rows[i].number for i in leave], device=predicted_RH.device)
                for x, rest in zip(state_tensors(left), state_tensors(_select(present, leave)), strict=True):
                    x[numbers] = rest.to(x.dtype)  # autocast may have begun since `start`
                rows, (predictor, scorers) = [rows[i] for i in stay], _select((predictor, scorers), stay)
            if rows:
                symbols = torch.tensor([row.symbol for row in rows], device=predicted_RH.device)
                output, predictor = self.model.predictor.step(symbols, predictor)
                present = self.model.joint.project_predictor(output), predictor, self.scorers.advance(scorers, symbols)
        predicted_BH, predictor, scorers = left
        return GreedyState(
            predicted_BH,
            predictor,
            state.max_symbols,
            torch.tensor([stream.symbols for stream in streams]),
            state.received + lengths,
            state.decoded + torch.tensor([stream.frame for stream in streams]) - first,
            state.score + torch.tensor([stream.score for stream in streams], dtype=torch.float64),
            tuple(_extend(*each) for each in zip(state.paths, streams, state.received.tolist())),
            scorers,
        )

    def finish(self, state: GreedyState) -> list[list[Hypothesis]]:
        """Return a list with the one hypothesis of each stream. `state` stays usable: the stream may go on."""
        truncated = (state.decoded < state.received).tolist()
        return [[_hypothesis(*each)] for each in zip(state.paths, state.score.tolist(), truncated)]

    def best(self, state: GreedyState) -> list[Hypothesis]:
        """Return the one hypothesis of each stream."""
        return [best for (best,) in self.finish(state)]

    def last_frames(self, state: GreedyState) -> list[list[int]]:
        """Return, for each stream, a list of the frame of its last symbol; -1 without one."""
        return [[path.frames[-1] if path else -1] for path in state.paths]

    def settle(self, state: GreedyState, tokens: Sequence[int], alone: bool) -> GreedyState:
        """Return the state of a single stream without its first symbols. `alone` has no meaning here."""
        ((best,),) = self.finish(state)
        rest = [x[len(tokens) :] for x in (best.tokens, best.frames, best.log_probs)]
        return state._replace(paths=(_Path(None, *rest) if rest[0] else None,))

    def _find_symbols(
        self,
        projected_BTH: torch.Tensor,
        rows: list[GreedyStream],
        predicted_RH: torch.Tensor,
        scores_RV: torch.Tensor | None,
    ) -> None:
        """Move each row on to the frame that emits its next symbol, or to the end of its frames.

        scores_RV: the scorers' scores (R, V-1), None without scorers.
        """
        device, (batch, size, _) = projected_BTH.device, projected_BTH.shape
        frames_NH = projected_BTH.flatten(0, 1)
        for row in rows:
            row.symbol = None
        waiting = [i for i, row in enumerate(rows) if row.frame < row.length]
        while waiting:
            ahead = max(rows[i].length - rows[i].frame for i in waiting)
            ahead = range(min(ahead, _CPU_WINDOW if device.type == "cpu" else _GPU_WINDOW))
            starts = [rows[i].number * size + rows[i].frame for i in waiting]
            places = [min(start + w, batch * size - 1) for start in starts for w in ahead]
            window_NH = frames_NH.index_select(0, torch.tensor(places, device=device))
            waiting_RH = _select(predicted_RH, waiting)
            logits_RWV = self.model.joint(window_NH.view(len(waiting), len(ahead), -1), waiting_RH[:, None])
            logits_RWV = logits_RWV.to(torch.promote_types(logits_RWV.dtype, torch.float32))
            scores = None if scores_RV is None else _select(scores_RV, waiting)
            # One copy from the device for all. A float holds every symbol's number exactly.
            found = torch.stack(self.choose(logits_RWV, scores)).tolist()
            rules = self.model.blank, self.config.max_symbols_per_frame
            waiting = [i for i, *window in zip(waiting, *found) if not rows[i].read(*window, *rules)]

    def choose(self, logits_RWV: torch.Tensor, scores_RV: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Return the best symbol of each frame of a window and its log-probability, (R, W) each, of one type.

        scores_RV: the scorers' scores (R, V-1), None without scorers.
        """
        log_probs_RWV = torch.log_softmax(logits_RWV, -1)
        log_probs_RW, best_RW = _best(log_probs_RWV, self.config.blank_penalty)
        if scores_RV is not None:
            _steer(log_probs_RWV, log_probs_RW, best_RW, scores_RV)
        return best_RW.to(log_probs_RW.dtype), log_probs_RW


@torch.inference_mode()
def greedy(
    model: Transducer,
    encoder_BTD: torch.Tensor,
    encoder_lengths: torch.Tensor,
    config: DecodingConfig | None = None,
    scorers: Sequence[Scorer] = (),
    max_symbols: torch.Tensor | None = None,
) -> list[Hypothesis]:
    """Decode whole utterances: encoder frames (B, T, D) with lengths (B,) -> a hypothesis for each.

    max_symbols: each utterance's limit (B,), else the config's. Raises ValueError for a model with durations.
    """
    if model.joint.durations:
        raise ValueError("this is a token-and-duration model; decode it with DurationGreedy, or with its recognizer")
    search = Greedy(model, config, scorers)
    state = search.advance(search.start(len(encoder_BTD), max_symbols), encoder_BTD, encoder_lengths)
    return [best for (best,) in search.finish(state)]


def _best(log_probs: torch.Tensor, blank_penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability and the symbol that each frame emits, blank counting `blank_penalty` less."""
    if not blank_penalty:
        return log_probs.max(-1)
    counted = log_probs.clone()
    counted[..., -1] -= blank_penalty
    best = counted.argmax(-1)
    return log_probs.gather(-1, best[..., None])[..., 0], best


def _steer(
    log_probs_RWV: torch.Tensor, log_probs_RW: torch.Tensor, best_RW: torch.Tensor, scores_RV: torch.Tensor
) -> None:
    """Choose the symbol of each frame that emits one anew, by the sum of its log-probability and the scores (R, V-1).

    A frame becomes blank if all symbols are forbidden. Changes `best_RW` and its log-probabilities.
    """
    log_probs_NV, best_N = log_probs_RWV.flatten(0, 1), best_RW.view(-1)
    blank = log_probs_NV.shape[1] - 1
    places = torch.nonzero(best_N != blank)[:, 0]
    if not len(places):
        return
    values_EV = log_probs_NV.index_select(0, places)[:, :blank]
    values_EV += scores_RV.index_select(0, places // best_RW.shape[1])
    values_E, best_E = values_EV.max(1)
    best_E.masked_fill_(values_E == -torch.inf, blank)
    best_N[places] = best_E
    log_probs_RW.view(-1)[places] = log_probs_NV[places, best_E]


def _select(state: torch.Tensor | tuple, rows: list[int]) -> torch.Tensor | tuple:
    """Return the rows of each tensor of a state, without a copy if they are all of its rows. `rows` are in order."""

    def select(x: torch.Tensor) -> torch.Tensor:
        return x if len(rows) == len(x) else x.index_select(0, torch.tensor(rows, dtype=torch.long, device=x.device))

    return map_state(state, select)


def _extend(path: _Path | None, stream: GreedyStream, received: int) -> _Path | None:
    """Append the symbols of a chunk, whose first frame has the number `received`."""
    if not stream.tokens:
        return path
    return _Path(path, stream.tokens, [received + frame for frame in stream.frames], stream.log_probs)


def _hypothesis(path: _Path | None, score: float, truncated: bool) -> Hypothesis:
    parts = []
    while path:
        parts.append(path)
        path = path.before
    names = ("tokens", "frames", "log_probs")
    return Hypothesis(
        *([x for part in reversed(parts) for x in getattr(part, name)] for name in names), score, truncated
    )
