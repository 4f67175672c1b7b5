"""The predictor (prediction network): the symbols so far -> a vector that helps to predict the next one.

B utterances, U symbols, E width of the embedding, D width of the output.
"""

import torch
from torch import nn
from torch.nn import functional as F

from rnnt.model.lstm import LstmState, init_lstm, run_lstm, start_lstm
from rnnt.model_config import ModelConfig, PredictorConfig


class OneHot(nn.Module):
    """Stands in for an embedding: symbols (...) -> one-hot vectors (..., E), E being the number of symbols.

    An LSTM on these has an embedding in its input weights: the column of a symbol.
    """

    def __init__(self, symbols: int):
        super().__init__()
        self.num_embeddings = self.embedding_dim = symbols
        self.register_buffer("one", torch.ones(()), persistent=False)  # follows the model's number format

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        """Return the vectors, in the model's number format."""
        return F.one_hot(symbols, self.num_embeddings).to(self.one.dtype)


class Predictor(nn.Module):
    """Embedding of the V-1 symbols and LSTM layers; the start of a sequence is a vector of zeros."""

    def __init__(self, symbols: int, config: PredictorConfig):
        super().__init__()
        self.embedding = nn.Embedding(symbols, config.embedding) if config.embedding else OneHot(symbols)
        self.lstm = nn.LSTM(
            self.embedding.embedding_dim,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.dropout, self.masking = nn.Dropout(config.dropout), config.masking
        self.width = config.hidden

    def forward(self, targets_BU: torch.Tensor) -> torch.Tensor:
        """Targets (B, U) -> (B, U+1, D): row u has seen the first u symbols. Padding may hold any number.

        In training, all outputs of some utterances are masked with zeros (Xu et al. 2024, arXiv 2410.02597). The
        encoder then has to tell the symbols apart by sound alone.
        """
        symbols_BU = targets_BU.clamp(0, self.embedding.num_embeddings - 1)  # the loss refuses what is no symbol
        x_BUE = F.pad(self.embedding(symbols_BU), (0, 0, 1, 0))
        output_BUD = self.dropout(self.lstm(x_BUE)[0])
        if not (self.training and self.masking):
            return output_BUD
        masked_B = torch.rand(len(targets_BU), device=output_BUD.device) < self.masking
        return output_BUD.masked_fill(masked_B[:, None, None], 0.0)

    def start(self, batch: int) -> tuple[torch.Tensor, LstmState]:
        """Return the output (B, D) and the state before the first symbol."""
        zeros = self.lstm.weight_ih_l0.new_zeros(1, 1, self.lstm.input_size)
        output, state = run_lstm(self.lstm, zeros, start_lstm(self.lstm, 1))
        return output[:, 0].repeat(batch, 1), tuple(x.repeat(batch, 1, 1) for x in state)

    def step(self, symbols_B: torch.Tensor, state: LstmState) -> tuple[torch.Tensor, LstmState]:
        """Return the output (B, D) and the state after one more symbol of each utterance.

        Meant for evaluation mode: there is no dropout.
        """
        output, state = run_lstm(self.lstm, self.embedding(symbols_B)[:, None], state)
        return output[:, 0], state

    def reset(self, config: ModelConfig) -> None:
        """Initialize the LSTM layers as `init_lstm` does."""
        init_lstm(self.lstm, config.forget_bias, config.init_scale)
