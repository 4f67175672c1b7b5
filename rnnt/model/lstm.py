"""LSTM layers, and the encoder that is made of them.

B utterances or streams, S input frames, F values of one, T encoder frames, I and D widths of a layer's input and
output, L layers. States are batch-first: hidden and cell are (B, L, D).
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from rnnt.frames import frames_from, reverse_frames, stack_frames, valid_places
from rnnt.model.encoder import Encoder
from rnnt.model_config import LstmConfig, ModelConfig

LstmState = tuple[torch.Tensor, torch.Tensor]  # hidden and cell, both (B, L, D)
# On a CPU, nn.LSTM first rearranges its weights, which takes as long as some 100 frames do without.
_SHORT = 128
_FEW, _MANY = 8, 64  # rows, as measured on a processor with AVX-512; see _linear


def init_lstm(lstm: nn.LSTM, forget_bias: float, scale: float) -> None:
    """Initialize as the MLPerf model: forget gate's input-side bias `forget_bias`, hidden-side 0, then all x scale."""
    with torch.no_grad():
        for name, value in lstm.named_parameters():
            if name.startswith("bias"):
                forget = value[lstm.hidden_size : 2 * lstm.hidden_size]
                forget.fill_(forget_bias if name.startswith("bias_ih") else 0.0)
            value.mul_(scale)


def start_lstm(lstm: nn.LSTM, batch: int) -> LstmState:
    """Return the state before the first frame: zeros."""
    weight = lstm.weight_hh_l0
    zeros = weight.new_zeros(batch, lstm.num_layers, lstm.hidden_size)
    return zeros, zeros


def run_lstm(lstm: nn.LSTM, x_BTI: torch.Tensor, state: LstmState) -> tuple[torch.Tensor, LstmState]:
    """Return the output (B, T, D) and the state after T more frames, one at least.

    lstm: layers that read forward, batch-first, in evaluation mode (dropout is left out of short inputs).
    """
    if x_BTI.device.type == "cpu" and x_BTI.shape[:2].numel() <= _SHORT:
        return _run_short(lstm, x_BTI, state)
    hidden, cell = (x.transpose(0, 1).contiguous() for x in state)
    output, after = lstm(x_BTI, (hidden, cell))
    return output, tuple(new.transpose(0, 1).to(old.dtype) for new, old in zip(after, state))


def _run_short(lstm: nn.LSTM, x_BTI: torch.Tensor, state: LstmState) -> tuple[torch.Tensor, LstmState]:
    """Do as `run_lstm` in plain torch, layer by layer and frame by frame."""
    after = []
    for hidden_BD, cell_BD, weights in zip(*(x.unbind(1) for x in state), lstm.all_weights):
        x_BTI, hidden_BD, cell_BD = _run_layer(x_BTI, hidden_BD, cell_BD, *weights)
        after.append((hidden_BD, cell_BD))
    return x_BTI, tuple(torch.stack(x, 1) for x in zip(*after))


def _run_layer(x_BTI, hidden_BD, cell_BD, weight_ih, weight_hh, bias_ih, bias_hh):
    if x_BTI.shape[1] == 1 and len(x_BTI) < _FEW:
        hidden_BD, cell_BD = torch.lstm_cell(x_BTI[:, 0], (hidden_BD, cell_BD), weight_ih, weight_hh, bias_ih, bias_hh)
        return hidden_BD[:, None], hidden_BD, cell_BD
    gates_BTG = _linear(x_BTI.flatten(0, 1), weight_ih, bias_ih + bias_hh).unflatten(0, x_BTI.shape[:2])
    outputs = []
    for gates_BG in gates_BTG.unbind(1):
        enter, forget, new, leave = (gates_BG + _linear(hidden_BD, weight_hh)).chunk(4, 1)
        cell_BD = torch.sigmoid(forget) * cell_BD + torch.sigmoid(enter) * torch.tanh(new)
        hidden_BD = torch.sigmoid(leave) * torch.tanh(cell_BD)
        outputs.append(hidden_BD)
    return torch.stack(outputs, 1), hidden_BD, cell_BD


def _linear(x_BI: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None) -> torch.Tensor:
    """Compute F.linear, as W x^T if MKL computes that faster than x W^T. The gain is up to twofold."""
    if _FEW <= len(x_BI) < _MANY:
        product = torch.mm(weight_OI, x_BI.t()).t()
        return product if bias_O is None else product + bias_O
    return F.linear(x_BI, weight_OI, bias_O)


class LstmStack(nn.Module):
    """LSTM layers with dropout after each: (B, T, I) -> (B, T, D). Without a layer the input is the output.

    Padding lies at the end, and a forward LSTM meets it last. A backward one gets its input reversed within the
    lengths. So valid frames never see padding, and neither packed sequences nor their slow kernels are needed.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, dropout: float, bidirectional: bool = False):
        super().__init__()
        self.bidirectional = bidirectional
        self.dropout = nn.Dropout(dropout)
        if bidirectional:
            widths = ([inputs] + [2 * hidden] * (layers - 1))[:layers]
            self.forward_layers = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
            self.backward_layers = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
        elif not layers:
            self.lstm = None
        else:
            self.lstm = nn.LSTM(inputs, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)

    def forward(self, x_BTI: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Run the layers over whole utterances. Frames beyond the lengths give arbitrary output."""
        if not self.bidirectional:
            return x_BTI if self.lstm is None else self.dropout(self.lstm(x_BTI)[0])
        for ahead, back in zip(self.forward_layers, self.backward_layers):
            reverse = reverse_frames(back(reverse_frames(x_BTI, lengths))[0], lengths)
            x_BTI = self.dropout(torch.cat([ahead(x_BTI)[0], reverse], dim=2))
        return x_BTI

    def step(self, x_BTI: torch.Tensor, lengths: torch.Tensor, state: LstmState) -> tuple[torch.Tensor, LstmState]:
        """Run forward layers over one more chunk, from each stream's state to that after its last valid frame.

        Frames beyond the lengths give zeros.
        """
        if self.lstm is None:
            return x_BTI.masked_fill(~valid_places(lengths, x_BTI.shape[1])[:, :, None], 0.0), state
        batch, size, _ = x_BTI.shape
        ends = set(lengths.tolist())
        if ends == {size} and size:
            return run_lstm(self.lstm, x_BTI, state)
        output_BTD = x_BTI.new_zeros(batch, size, self.lstm.hidden_size)
        start = 0
        for end in sorted(ends - {0}):  # from one length to the next, the same streams have frames
            rows = (lengths >= end).nonzero()[:, 0].to(x_BTI.device)
            output, after = run_lstm(self.lstm, x_BTI[rows, start:end], tuple(x[rows] for x in state))
            output_BTD[rows, start:end] = output.to(output_BTD.dtype)
            state = tuple(x.index_copy(0, rows, new) for x, new in zip(state, after))
            start = end
        return output_BTD, state

    def reset(self, forget_bias: float, scale: float) -> None:
        """Initialize every layer as `init_lstm` does."""
        for module in self.modules():
            if isinstance(module, nn.LSTM):
                init_lstm(module, forget_bias, scale)


class LstmEncoderState(NamedTuple):
    """The state of `LstmEncoder`, each field with the streams as dim 0."""

    pre_hidden: torch.Tensor  # (B, L, D)
    pre_cell: torch.Tensor
    post_hidden: torch.Tensor
    post_cell: torch.Tensor
    pending: torch.Tensor  # (B, stride - 1, D), the last outputs of the first layers
    num_pending: torch.Tensor  # (B,), how many of these, the last ones, still wait to be stacked
    num_early: torch.Tensor  # (B,), how many more outputs are left out, so that each frame sees those that follow it


class LstmEncoder(Encoder):
    """LSTM layers, `time_stack` frames joined into one, LSTM layers.

    With a look-ahead of k encoder frames, frame t is the output of the layers at frame t + k. Zeros follow the last
    input frame, and the first k outputs are left out.
    """

    def __init__(self, inputs: int, config: LstmConfig):
        super().__init__()
        self.inputs, self.width = inputs, config.hidden * (2 if config.bidirectional else 1)
        self.stride = config.time_stack
        self.lookahead = None if config.bidirectional else config.lookahead * config.time_stack
        shared = (config.dropout, config.bidirectional)
        self.pre = LstmStack(inputs, config.hidden, config.pre_layers, *shared)
        self.post = LstmStack(self.width * config.time_stack, config.hidden, config.post_layers, *shared)
        layers = f"{config.pre_layers} + {config.post_layers} LSTM layers of {config.hidden}"
        if not config.post_layers:
            layers = f"{config.pre_layers} LSTM layer{'s' * (config.pre_layers > 1)} of {config.hidden}"
        if config.lookahead:
            layers += f", {config.lookahead} frame{'s' * (config.lookahead > 1)} ahead"
        self._description = layers + (", both directions" if config.bidirectional else "")

    def forward(self, frames_BSF: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode whole utterances."""
        # Padding that is not finite would not reach a valid frame, but it would reach the gradient of the weights.
        x_BSF = frames_BSF.masked_fill(~valid_places(lengths, frames_BSF.shape[1])[:, :, None], 0.0)
        ahead = self.lookahead or 0  # zeros follow the last frame, and the first outputs are left out
        x_BSF, lengths = F.pad(x_BSF, (0, 0, 0, ahead)), lengths + ahead
        x_BSD = self.pre(x_BSF, lengths)
        if self.stride > 1:
            x_BSD = x_BSD.masked_fill(~valid_places(lengths, x_BSD.shape[1])[:, :, None], 0.0)
            x_BSD, lengths = stack_frames(x_BSD, lengths, self.stride)
        late = ahead // self.stride
        return self.post(x_BSD, lengths)[:, late:], lengths - late

    def start(self, batch: int) -> LstmEncoderState:
        """Return the state of streams before their first frame. Raises ValueError if the encoder is bidirectional."""
        if self.lookahead is None:
            raise ValueError(
                "this model's encoder reads in both directions and needs whole utterances; for streams, train one with "
                "model.encoder.lstm.bidirectional=false"
            )
        pre = start_lstm(self.pre.lstm, batch)
        post = (x[:, :0] for x in pre) if self.post.lstm is None else start_lstm(self.post.lstm, batch)
        pending = pre[0].new_zeros(batch, self.stride - 1, self.width)
        num_pending = torch.zeros(batch, dtype=torch.long, device=pending.device)
        return LstmEncoderState(*pre, *post, pending, num_pending, num_pending + self.lookahead // self.stride)

    def step(
        self, frames_BSF: torch.Tensor, lengths: torch.Tensor, state: LstmEncoderState
    ) -> tuple[torch.Tensor, torch.Tensor, LstmEncoderState]:
        """Encode one more chunk of each stream. Meant for evaluation mode: there is no dropout."""
        x_BSD, pre = self.pre.step(frames_BSF, lengths, (state.pre_hidden, state.pre_cell))
        return self._join(x_BSD, lengths, pre, state)

    def finish(self, state: LstmEncoderState) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the encoder frames that are owed, after the zeros of the look-ahead. Zeros complete the last stack."""
        zeros = state.pending.new_zeros(len(state.pending), self.lookahead, self.inputs)
        lengths = torch.full_like(state.num_pending, self.lookahead)
        x_BSD, pre = self.pre.step(zeros, lengths, (state.pre_hidden, state.pre_cell))
        missing = -state.num_pending % self.stride
        return self._join(F.pad(x_BSD, (0, 0, 0, self.stride - 1)), lengths + missing, pre, state)[:2]

    def _join(
        self, x_BSD: torch.Tensor, lengths: torch.Tensor, pre: LstmState, state: LstmEncoderState
    ) -> tuple[torch.Tensor, torch.Tensor, LstmEncoderState]:
        """Stack outputs of the first layers, of which `lengths` (B,) are valid, and run the layers after these."""
        keep, totals = self.stride - 1, state.num_pending + lengths
        x_BSD = torch.cat((state.pending, x_BSD), 1)
        num_stacks = totals // self.stride
        x_BTD = frames_from(x_BSD, keep - state.num_pending, int(num_stacks.max()) * self.stride)
        x_BTD = x_BTD.unflatten(1, (-1, self.stride)).flatten(2)
        output_BTD, post = self.post.step(x_BTD, num_stacks, (state.post_hidden, state.post_cell))
        early = torch.minimum(state.num_early, num_stacks)
        count = num_stacks - early
        if self.lookahead and early.any():
            output_BTD = frames_from(output_BTD, early, int(count.max()))
            output_BTD = output_BTD.masked_fill(~valid_places(count, output_BTD.shape[1])[:, :, None], 0.0)
        pending = frames_from(x_BSD, lengths, keep)
        after = LstmEncoderState(*pre, *post, pending, totals % self.stride, state.num_early - early)
        return output_BTD, count, after

    def reset(self, config: ModelConfig) -> None:
        """Initialize the layers as `init_lstm` does."""
        self.pre.reset(config.forget_bias, config.init_scale)
        self.post.reset(config.forget_bias, config.init_scale)

    def describe(self) -> str:
        """Describe the layers, as in "2 + 3 LSTM layers of 1024"."""
        return self._description
