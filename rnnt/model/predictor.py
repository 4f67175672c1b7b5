"""The predictor (prediction network): the symbols so far -> a vector that helps to predict the next one.

B utterances, U symbols, E width of the embedding, L layers, D width of the output.
"""

import torch
from torch import nn
from torch.nn import functional as F

from rnnt.config import PredictorConfig
from rnnt.model.recurrent import init_lstm

State = tuple[torch.Tensor, torch.Tensor]  # hidden and cell of every layer, both (B, L, D)
_MANY = 8  # utterances from which on _cell_of_many is faster than torch.lstm_cell: at 16, by a third


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
        x_BUE = F.pad(self.embedding(symbols_BU), (0, 0, 1, 0))
        return self.dropout(self.lstm(x_BUE)[0])

    def start(self, batch: int) -> tuple[torch.Tensor, State]:
        """Return the output (B, D) and the state before the first symbol."""
        weight = self.embedding.weight
        zeros_1LD = weight.new_zeros(1, self.lstm.num_layers, self.width)
        output, state = self._step(weight.new_zeros(1, weight.shape[1]), (zeros_1LD, zeros_1LD))
        return output.repeat(batch, 1), tuple(x.repeat(batch, 1, 1) for x in state)

    def step(self, symbols_B: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Return the output (B, D) and the state after one more symbol of each utterance. Without dropout."""
        return self._step(self.embedding(symbols_B), state)

    def _step(self, x_BE: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        if x_BE.device.type != "cpu":
            hidden, cell = (x.transpose(0, 1).contiguous() for x in state)
            output, state = self.lstm(x_BE[:, None], (hidden, cell))
            return output[:, 0], tuple(x.transpose(0, 1) for x in state)
        # On a CPU, nn.LSTM rearranges its weights at every call, which takes several times as long as one step.
        step = torch.lstm_cell if len(x_BE) < _MANY else _cell_of_many
        x_BD, layers = x_BE, []
        for *before, weights in zip(*(x.unbind(1) for x in state), self.lstm.all_weights):
            x_BD, cell_BD = step(x_BD, before, *weights)
            layers.append((x_BD, cell_BD))
        return x_BD, tuple(torch.stack(x, 1) for x in zip(*layers))

    def reset(self, forget_bias: float, scale: float) -> None:
        """Initialize the LSTM layers as `init_lstm` does."""
        init_lstm(self.lstm, forget_bias, scale)


def _cell_of_many(x_BI, state, weight_ih, weight_hh, bias_ih, bias_hh) -> tuple[torch.Tensor, torch.Tensor]:
    """torch.lstm_cell with products of the form W x^T in place of x W^T."""
    hidden_BD, cell_BD = state
    gates = torch.addmm((bias_ih + bias_hh)[:, None], weight_ih, x_BI.t()) + torch.mm(weight_hh, hidden_BD.t())
    enter, forget, new, leave = gates.t().chunk(4, 1)
    cell_BD = torch.sigmoid(forget) * cell_BD + torch.sigmoid(enter) * torch.tanh(new)
    return torch.sigmoid(leave) * torch.tanh(cell_BD), cell_BD
