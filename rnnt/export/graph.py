"""The networks of a model as modules whose inputs and outputs are those of the exported graphs.

B utterances or streams, N samples, S input symbols, T encoder frames, D encoder width, L layers, H width of the
predictor, V symbols with blank. All states have the streams as dim 0.
"""

import torch
from torch import nn
from torch.nn import functional as F

from rnnt.export.frontend import ChunkFrontEnd, FrontEnd
from rnnt.frames import stacked_lengths, valid_places
from rnnt.model import Transducer
from rnnt.model.lstm import LstmEncoder, LstmStack, start_lstm
from rnnt.model.predictor import OneHot
from rnnt.recognizer import Recognizer
from rnnt.running_statistics import RunningSums


class AudioEncoder(nn.Module):
    """Waveforms (B, N) in [-1, 1] and their lengths (B,) -> encoder frames (B, T, D) and their lengths."""

    def __init__(self, recognizer: Recognizer):
        super().__init__()
        self.frontend, self.encoder = FrontEnd(recognizer.features), recognizer.model.encoder

    def forward(self, audio_BN: torch.Tensor, num_samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode whole utterances."""
        return self.encoder(*self.frontend(audio_BN, num_samples))


class StreamEncoder(nn.Module):
    """One more chunk of waveforms, and the states before it -> its encoder frames, and the states after it.

    Frames of a stream are those of `AudioEncoder` for the whole. A chunk of N samples gives N / `step` rows, `first`
    up to `end` of which are valid; frames that look ahead come so many rows late.
    """

    def __init__(self, recognizer: Recognizer):
        super().__init__()
        encoder, features = recognizer.model.encoder, recognizer.features
        self.frontend, self.encoder = ChunkFrontEnd(features), encoder
        self.step = features.config.hop * features.config.stack * encoder.stride  # samples of an encoder frame
        self.late = encoder.lookahead // encoder.stride  # rows that a frame comes late

    def start(self, batch: int) -> dict[str, torch.Tensor]:
        """Return the states before the first chunk, by their names: zeros."""
        front = self.frontend
        states = {"past": torch.zeros(batch, front.left + front.extra + 1)}
        counts = torch.zeros(batch, front.config.values, dtype=torch.int64)
        states["received"] = counts[:, 0].clone()
        if front.config.normalization == "running":
            states |= {"count": counts[:, 0].clone(), "total": counts, "squares": counts.clone()}
        for name in ("pre", "post"):
            lstm = getattr(self.encoder, name).lstm
            if lstm is not None:
                hidden, cell = start_lstm(lstm, batch)
                states |= {f"{name}_hidden": hidden, f"{name}_cell": cell.clone()}
        return states

    def forward(
        self, audio_BN: torch.Tensor, num_samples: torch.Tensor, *states: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the rows (B, N / step, D), the first valid one and the one after the last (B,), and the new states.

        num_samples: (B,), of the whole stream, or -1 if its end is not known yet.
        """
        past_BP, received, *rest = states
        running = self.frontend.config.normalization == "running"
        sums, lstm = (RunningSums(*rest[:3]), rest[3:]) if running else (None, rest)
        pre, post = self.encoder.pre, self.encoder.post
        x_BSF, _, past_BP, sums = self.frontend(audio_BN, num_samples, past_BP, received, sums)
        stride, size = self.encoder.stride, x_BSF.shape[1]
        x_BSD, before_states = _run(pre, x_BSF, lstm[:2] if pre.lstm is not None else [])
        done = torch.div(received, self.step // stride, rounding_mode="floor")  # stacked frames before
        owed = torch.ones_like(received) * size
        ended = (num_samples >= 0).long()
        frames = self.frontend.features.num_frames(num_samples.clamp(min=0))
        inputs = stacked_lengths(frames, self.frontend.config.stack)
        left = (inputs + self.encoder.lookahead - done).clamp(min=0)
        x_BSD = x_BSD.masked_fill(~valid_places(torch.where(ended > 0, left, owed), size)[:, :, None], 0.0)
        x_BTD = x_BSD.reshape(x_BSD.shape[0], -1, x_BSD.shape[2] * stride)
        x_BTD, after_states = _run(post, x_BTD, lstm[-2:] if post.lstm is not None else [])
        rows = torch.div(size, stride, rounding_mode="floor")
        before = torch.div(received, self.step, rounding_mode="floor") - self.late  # the number of the first row
        outputs = stacked_lengths(inputs, stride)
        whole = torch.ones_like(received) * rows
        first = torch.minimum((-before).clamp(min=0), whole)
        end = torch.where(ended > 0, torch.minimum((outputs - before).clamp(min=0), whole), whole)
        received = received + audio_BN.shape[1]
        return x_BTD, first, end, past_BP, received, *(sums if running else ()), *before_states, *after_states


class SymbolReader(nn.Module):
    """Numbers of input symbols (B, S) and their lengths (B,) -> encoder frames (B, T, D) and their lengths."""

    def __init__(self, recognizer: Recognizer):
        super().__init__()
        self.encoder = recognizer.model.encoder

    def forward(self, symbols_BS: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode whole inputs."""
        return self.encoder(symbols_BS, lengths)


class Embedding(nn.Module):
    """The predictor's embedding with a row of zeros for blank, which starts a sequence."""

    def __init__(self, model: Transducer):
        super().__init__()
        table = model.predictor.embedding
        weight = torch.eye(table.num_embeddings) if isinstance(table, OneHot) else table.weight.detach()
        self.table = nn.Embedding.from_pretrained(F.pad(weight, (0, 0, 0, 1)))

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        """Return the vectors of symbols."""
        return self.table(symbols)


class DecoderJoint(nn.Module):
    """Encoder frames (B, T, D), the last symbol (B,) and the predictor's states before it -> logits (B, T, V).

    The first symbol is blank, with states (B, L, H) of zeros. Returns also the states after the symbol. Without
    another symbol after it, the same symbol and states go with the frames that follow.
    """

    def __init__(self, model: Transducer, blank_penalty: float = 0.0):
        super().__init__()
        self.embedding, self.lstm, self.joint = Embedding(model), model.predictor.lstm, model.joint
        self.register_buffer("blank_bias", blank_bias(model.vocabulary, blank_penalty))

    def forward(
        self, encoder_BTD: torch.Tensor, symbols: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the logits of all frames, and the predictor's states after the symbol."""
        output, after = run_forward(self.lstm, self.embedding(symbols[:, None]), (hidden, cell))
        joint = self.joint
        logits = joint(joint.project_encoder(encoder_BTD), joint.project_predictor(output))
        return logits + self.blank_bias, *after


def blank_bias(vocabulary: int, penalty: float) -> torch.Tensor:
    """Return the bias (V,) that makes blank less probable by `penalty` nats before the softmax."""
    return F.pad(torch.zeros(vocabulary - 1), (0, 1), value=-penalty)


def run_forward(lstm: nn.LSTM, x_BTI: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple:
    """Run LSTM layers from a state (B, L, H), as one operation of the graph."""
    output, after = lstm(x_BTI, tuple(x.transpose(0, 1).contiguous() for x in state))
    return output, tuple(x.transpose(0, 1) for x in after)


def _run(stack: LstmStack, x_BTI: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple:
    return (x_BTI, state) if stack.lstm is None else run_forward(stack.lstm, x_BTI, state)


def why_no_stream(recognizer: Recognizer) -> str:
    """One line that says why a model has no streaming graph; empty if it has one."""
    if recognizer.config.input == "symbols":
        return "it reads symbols, which are given whole"
    if recognizer.features.why_not_streaming:
        return recognizer.features.why_not_streaming
    encoder = recognizer.model.encoder
    if not isinstance(encoder, LstmEncoder):
        return (
            f"model.encoder.kind={recognizer.config.model.encoder.kind} has no exported stream; its recordings do run"
        )
    if encoder.lookahead is None:
        return "model.encoder.lstm.bidirectional=true needs whole utterances"
    return ""
