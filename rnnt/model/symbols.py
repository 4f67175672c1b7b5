"""Symbols as the input of a model: an embedding takes the place of acoustic features.

B utterances, S input symbols, E width of the embedding.
"""

import torch
from torch import nn

from rnnt.config import SymbolsConfig
from rnnt.model.encoder import Encoder, State
from rnnt.model_config import ModelConfig


class SymbolEmbedding(nn.Module):
    """Numbers of symbols (B, S) -> vectors (B, S, E).

    size: the number of input symbols. The last one stands for symbols that training never saw. Training replaces a
    random share `config.unknown` of the symbols by it, so that the model learns to do without a symbol.
    """

    def __init__(self, size: int, config: SymbolsConfig):
        super().__init__()
        self.table = nn.Embedding(size, config.embedding)
        self.dropout = nn.Dropout(config.dropout)
        self.unknown = config.unknown

    def forward(self, symbols_BS: torch.Tensor) -> torch.Tensor:
        """Embed the symbols."""
        if self.training and self.unknown:
            replaced_BS = torch.rand(symbols_BS.shape, device=symbols_BS.device) < self.unknown
            symbols_BS = symbols_BS.masked_fill(replaced_BS, self.table.num_embeddings - 1)
        return self.dropout(self.table(symbols_BS))


class SymbolEncoder(Encoder):
    """Embeds the numbers of symbols, (B, S) in place of frames (B, S, F), and runs another encoder on the vectors."""

    def __init__(self, embedding: SymbolEmbedding, encoder: Encoder):
        super().__init__()
        self.embedding, self.encoder = embedding, encoder
        self.width, self.stride, self.lookahead = encoder.width, encoder.stride, encoder.lookahead

    def forward(self, symbols_BS: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode whole utterances of symbols."""
        return self.encoder(self.embedding(symbols_BS), lengths)

    def start(self, batch: int) -> State:
        """Return the state of `batch` streams before their first symbol."""
        return self.encoder.start(batch)

    def step(
        self, symbols_BS: torch.Tensor, lengths: torch.Tensor, state: State
    ) -> tuple[torch.Tensor, torch.Tensor, State]:
        """Encode some more symbols of each stream."""
        return self.encoder.step(self.embedding(symbols_BS), lengths, state)

    def finish(self, state: State) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the encoder frames that are still owed at the end of the streams."""
        return self.encoder.finish(state)

    def reset(self, config: ModelConfig) -> None:
        """Initialize the parameters of the inner encoder as the settings ask."""
        self.encoder.reset(config)

    def describe(self) -> str:
        """Describe the layers in one line."""
        size, width = self.embedding.table.weight.shape
        return f"embedding of {size} symbols in {width} values, {self.encoder.describe()}"
