"""The encoder (transcription network): feature frames -> encoder frames."""

import torch
from torch import nn

from rnnt.config import LstmConfig
from rnnt.frames import stack_frames, valid_places
from rnnt.model.recurrent import LstmStack


class Encoder(nn.Module):
    """LSTM layers, `time_stack` frames put together, LSTM layers: (B, S, F') -> (B, T, D), T = ceil(S / time_stack)."""

    def __init__(self, inputs: int, config: LstmConfig):
        super().__init__()
        self.time_stack = self.stride = config.time_stack
        self.width = config.hidden * (2 if config.bidirectional else 1)
        shared = (config.dropout, config.bidirectional)
        self.pre = LstmStack(inputs, config.hidden, config.pre_layers, *shared)
        self.post = LstmStack(self.width * config.time_stack, config.hidden, config.post_layers, *shared)

    def forward(self, features_BSF: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        behind_BS1 = ~valid_places(lengths, features_BSF.shape[1])[:, :, None]
        # Padding that is not finite would not reach a valid frame, but it would reach the gradient of the weights.
        x_BSD = self.pre(features_BSF.masked_fill(behind_BS1, 0.0), lengths)
        if self.time_stack > 1:
            x_BSD, lengths = stack_frames(x_BSD.masked_fill(behind_BS1, 0.0), lengths, self.time_stack)
        return self.post(x_BSD, lengths), lengths
