"""Greedy decoding of token-and-duration transducers, and when their symbols were said.

The joint of these models (Xu et al. 2023, arXiv 2304.06795) scores durations in addition to symbols. The search goes on
by the best duration, in encoder frames, after a symbol as after a blank, so it skips most frames. As in NVIDIA's NeMo
toolkit, a blank goes on by one frame at least, and so does the last symbol that a frame may emit.

R rows (streams with frames left), W frames of a window, B utterances, U symbols, N symbols of all utterances, T, D, V
as ever.
"""

from collections.abc import Sequence

import torch

from rnnt.decoding.alignment import Alignment
from rnnt.decoding.greedy import Greedy, GreedyStream
from rnnt.decoding.hypothesis import Hypothesis
from rnnt.loader import pad_symbols
from rnnt.model import Transducer


class DurationStream(GreedyStream):
    """A stream on its way through a chunk, which may end within a duration: the next chunk then begins later."""

    def read(
        self,
        best: list[float],
        log_probs: list[float],
        durations: list[float],
        duration_log_probs: list[float],
        blank: int,
        max_per_frame: int,
    ) -> bool:
        """Go through a window by its durations, up to the first symbol that is not blank.

        Returns whether the search is over: a symbol was found, or there are no more frames.
        """
        first = self.frame
        end = min(self.length, first + len(best))
        while self.frame < end:
            place = self.frame - first
            symbol, duration = int(best[place]), int(durations[place])
            self.score += log_probs[place] + duration_log_probs[place]
            if symbol != blank:
                self.emit(symbol, log_probs[place], max_per_frame, duration)
                return True
            self.frame, self.at_frame = self.frame + max(duration, 1), 0
        return self.frame >= self.length


class DurationGreedy(Greedy):
    """Greedy search with durations, a `Search`. The limits and the use of scorers are those of `Greedy`.

    The most probable duration counts, whichever symbol is emitted. A hypothesis's score is the log-probability of the
    path with its durations; its log_probs are those of the symbols alone.
    """

    stream_type = DurationStream

    def choose(self, logits_RWV: torch.Tensor, scores_RV: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Return the best symbol of each frame, its log-probability, the best duration and its log-probability."""
        symbols_RWV, durations_RWV = split_logits(self.model, logits_RWV)
        log_probs_RW, places_RW = torch.log_softmax(durations_RWV, -1).max(-1)
        durations = torch.tensor(self.model.joint.durations, dtype=log_probs_RW.dtype, device=log_probs_RW.device)
        return *super().choose(symbols_RWV, scores_RV), durations[places_RW], log_probs_RW


def split_logits(model: Transducer, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits (..., V) of symbols and those of durations."""
    return logits[..., : model.vocabulary], logits[..., model.vocabulary :]


@torch.inference_mode()
def align_durations(
    model: Transducer,
    encoder_BTD: torch.Tensor,
    hypotheses: Sequence[Hypothesis],
    predictor_BUD: torch.Tensor | None = None,
) -> list[Alignment]:
    """Return when each decoded symbol began and ended: at its frame, and as long after it as the model says.

    A symbol lasts for a frame at least. The posteriors are the probabilities of the symbols at their frames, given that
    it is not blank. predictor_BUD: the predictor's outputs (B, U+1, D), by default those of the model after each
    symbol.
    """
    targets_BU, counts = pad_symbols([hypothesis.tokens for hypothesis in hypotheses])
    frames_BU, _ = pad_symbols([hypothesis.frames for hypothesis in hypotheses])
    if predictor_BUD is None:
        predictor_BUD = model.predictor(targets_BU.to(encoder_BTD.device))
    b, u = torch.nonzero(torch.arange(targets_BU.shape[1]) < counts[:, None], as_tuple=True)
    frames, symbols = frames_BU[b, u], targets_BU[b, u]
    b, u, frames, symbols = (x.to(encoder_BTD.device) for x in (b, u, frames, symbols))
    joint = model.joint
    logits = joint(joint.project_encoder(encoder_BTD[b, frames]), joint.project_predictor(predictor_BUD[b, u]))
    symbols_NV, durations_ND = split_logits(model, logits.to(torch.promote_types(logits.dtype, torch.float32)))
    posteriors = symbols_NV[:, :-1].softmax(-1).gather(1, symbols[:, None])[:, 0].tolist()
    lasting = torch.tensor(joint.durations)[durations_ND.argmax(-1).cpu()].clamp(min=1).tolist()
    found, first = [], 0
    for hypothesis in hypotheses:
        end = first + len(hypothesis.tokens)
        ends = [frame + duration for frame, duration in zip(hypothesis.frames, lasting[first:end])]
        begins = [float(frame) for frame in hypothesis.frames]
        found.append(
            Alignment(
                hypothesis.frames, begins, hypothesis.log_probs, posteriors[first:end],
                hypothesis.score, hypothesis.score, ends,
            )
        )  # fmt: skip
        first = end
    return found
