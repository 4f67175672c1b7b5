"""Greedy decoding: at each frame the best symbol, until that is blank. All utterances of a batch advance together."""

from dataclasses import dataclass

import torch

from rnnt.config import DecodingConfig
from rnnt.model import Transducer

_WINDOW = 16  # frames that one step looks ahead over


@dataclass(frozen=True)
class Hypothesis:
    """A decoded utterance: symbols, the encoder frame that emitted each, and log P of each given all before it.

    truncated: the limit of symbols was reached before the last frame; the rest of the text is missing.
    """

    tokens: list[int]
    frames: list[int]
    log_probs: list[float]
    truncated: bool = False


@torch.inference_mode()
def greedy(
    model: Transducer,
    encoder_BTD: torch.Tensor,
    encoder_lengths: torch.Tensor,
    config: DecodingConfig | None = None,
    max_symbols: torch.Tensor | None = None,
) -> list[Hypothesis]:
    """Decode encoder frames (B, T, D) with lengths (B,); one Hypothesis an utterance.

    Gives what the frame-by-frame loop over one utterance gives (Graves 2012; at most `max_symbols_per_frame` symbols at
    a frame and `max_symbols` in all, those of the config or each utterance's own, (B,)). A step scores the next frames
    of every utterance against its present predictor state and jumps to the first that is not blank, so the number of
    steps is that of symbols, not of frames.
    """
    config = config or DecodingConfig()
    if max_symbols is None:
        max_symbols = torch.full_like(encoder_lengths, config.max_symbols)
    device, blank = encoder_BTD.device, model.blank
    projected_BTH = model.joint.encoder(encoder_BTD)
    batch, size, _ = projected_BTH.shape
    rows = torch.arange(batch, device=device)
    ahead = torch.arange(min(_WINDOW, size), device=device)

    output, state = model.predictor.start(batch)
    predictor_BH = model.joint.predictor(output)
    frame = torch.zeros(batch, dtype=torch.long, device=device)
    at_frame = torch.zeros_like(frame)  # symbols emitted at the present frame
    emitted = torch.zeros_like(frame)
    steps: list[tuple[torch.Tensor, ...]] = []
    while True:
        active = (frame < encoder_lengths) & (emitted < max_symbols)
        if not bool(active.any()):
            break
        places = frame[:, None] + ahead
        window_BWH = projected_BTH[rows[:, None], places.clamp(max=size - 1)]
        scores = model.joint(window_BWH, predictor_BH[:, None]).float()
        best = scores.argmax(-1)
        found = (best != blank) & (places < encoder_lengths[:, None])
        first = torch.where(found.any(1), found.int().argmax(1), len(ahead))
        emits = active & (first < len(ahead))
        at_frame = torch.where(first == 0, at_frame, 0)
        frame = torch.where(active, frame + first, frame)

        chosen = first.clamp(max=len(ahead) - 1)
        symbol = best[rows, chosen]
        log_prob = torch.log_softmax(scores[rows, chosen], -1)[rows, symbol]
        steps.append((emits, symbol, frame, log_prob))
        symbol = torch.where(emits, symbol, 0)
        output, new_state = model.predictor.step(symbol, state)
        state = tuple(torch.where(emits[None, :, None], new, old) for new, old in zip(new_state, state))
        predictor_BH = torch.where(emits[:, None], model.joint.predictor(output), predictor_BH)
        emitted = emitted + emits
        at_frame = at_frame + emits
        full = emits & (at_frame >= config.max_symbols_per_frame)
        frame = frame + full
        at_frame = torch.where(full, 0, at_frame)

    hypotheses = [Hypothesis([], [], [], truncated) for truncated in (frame < encoder_lengths).tolist()]
    for emits, symbol, place, log_prob in [tuple(x.tolist() for x in step) for step in steps]:
        for i in range(batch):
            if emits[i]:
                hypotheses[i].tokens.append(symbol[i])
                hypotheses[i].frames.append(place[i])
                hypotheses[i].log_probs.append(log_prob[i])
    return hypotheses
