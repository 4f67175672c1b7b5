"""The predictor (prediction network): the symbols so far -> a state for the next one."""

import torch
from torch import nn

from rnnt.config import PredictorConfig
from rnnt.model.recurrent import init_lstm

State = tuple[torch.Tensor, torch.Tensor]


class Predictor(nn.Module):
    """Embedding of the V-1 symbols and LSTM layers; the start of a sequence is a vector of zeros."""

    def __init__(self, symbols: int, config: PredictorConfig):
        super().__init__()
        self.embedding = nn.Embedding(symbols, config.embedding)
        self.lstm = nn.LSTM(
            config.embedding,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.width = config.hidden

    def forward(self, targets_BU: torch.Tensor) -> torch.Tensor:
        """Targets (B, U) -> (B, U+1, D): row u has seen the first u symbols. Padding may hold any number."""
        symbols_BU = targets_BU.clamp(0, self.embedding.num_embeddings - 1)  # the loss refuses what is no symbol
        x_BUE = nn.functional.pad(self.embedding(symbols_BU), (0, 0, 1, 0))
        return self.dropout(self.lstm(x_BUE)[0])

    def start(self, batch: int) -> tuple[torch.Tensor, State]:
        """Output (B, D) and state before the first symbol."""
        weight = self.embedding.weight
        output, state = self.lstm(weight.new_zeros(batch, 1, weight.shape[1]))
        return output[:, 0], state

    def step(self, symbols_B: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Output (B, D) and state after one more symbol each."""
        output, state = self.lstm(self.embedding(symbols_B)[:, None], state)
        return output[:, 0], state

    def reset(self, forget_bias: float, scale: float) -> None:
        init_lstm(self.lstm, forget_bias, scale)
