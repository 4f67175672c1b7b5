"""The joint network: an encoder frame and a predictor state -> scores of all symbols."""

import torch
from torch import nn

from rnnt.config import JointConfig


class Joint(nn.Module):
    """activation(Linear(encoder) + Linear(predictor)), dropout, Linear to the V symbols."""

    def __init__(self, encoder_width: int, predictor_width: int, vocabulary: int, config: JointConfig):
        super().__init__()
        self.encoder = nn.Linear(encoder_width, config.hidden)
        self.predictor = nn.Linear(predictor_width, config.hidden)
        self.output = nn.Linear(config.hidden, vocabulary)
        self.activation = config.activation
        self.dropout = config.dropout

    def forward(self, encoder_H: torch.Tensor, predictor_H: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of projected inputs (..., H) of like or broadcastable shape, without dropout."""
        return self.output(getattr(torch, self.activation)(encoder_H + predictor_H))
