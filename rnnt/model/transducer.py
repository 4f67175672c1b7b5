"""The transducer: encoder, predictor and joint in one module."""

import torch
from torch import nn

from rnnt.config import ModelConfig
from rnnt.loss import transducer_loss
from rnnt.model.encoder import Encoder
from rnnt.model.joint import Joint
from rnnt.model.predictor import Predictor


class Transducer(nn.Module):
    """RNN-T (Graves 2012) over float frames.

    inputs: F', values of one input frame; vocabulary: V with blank, which is the last index.
    """

    def __init__(self, inputs: int, vocabulary: int, config: ModelConfig):
        super().__init__()
        self.inputs = inputs
        self.vocabulary = vocabulary
        self.encoder = Encoder(inputs, config.encoder.lstm)
        self.predictor = Predictor(vocabulary - 1, config.predictor)
        self.joint = Joint(self.encoder.width, self.predictor.width, vocabulary, config.joint)
        self.encoder.pre.reset(config.forget_bias, config.init_scale)
        self.encoder.post.reset(config.forget_bias, config.init_scale)
        self.predictor.reset(config.forget_bias, config.init_scale)

    @property
    def blank(self) -> int:
        return self.vocabulary - 1

    def loss(
        self,
        encoder_BTD: torch.Tensor,
        encoder_lengths: torch.Tensor,
        targets_BU: torch.Tensor,
        target_lengths: torch.Tensor,
    ) -> torch.Tensor:
        """-log P(targets | frames) of each utterance, (B,), from the encoder's output."""
        return transducer_loss(
            self.joint.encoder(encoder_BTD),
            self.joint.predictor(self.predictor(targets_BU.to(encoder_BTD.device))),
            self.joint.output.weight,
            self.joint.output.bias,
            targets_BU,
            encoder_lengths,
            target_lengths,
            activation=self.joint.activation,
            dropout=self.joint.dropout if self.training else 0.0,
            reduction="none",
        )

    def forward(self, features_BSF, lengths, targets_BU, target_lengths) -> torch.Tensor:
        """-log P of each utterance, (B,): features (B, S, F') with lengths (B,), targets (B, U) with lengths (B,)."""
        encoder_BTD, encoder_lengths = self.encoder(features_BSF, lengths)
        return self.loss(encoder_BTD, encoder_lengths, targets_BU, target_lengths)

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
