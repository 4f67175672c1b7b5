"""The transducer: encoder, predictor and joint in one module."""

import torch
from torch import nn

from rnnt.loss import Penalties, transducer_loss
from rnnt.model.conformer import ConformerEncoder
from rnnt.model.encoder import Encoder
from rnnt.model.joint import Joint
from rnnt.model.lstm import LstmEncoder
from rnnt.model.predictor import Predictor
from rnnt.model.symbols import SymbolEmbedding, SymbolEncoder
from rnnt.model_config import EncoderConfig, ModelConfig


def make_encoder(inputs: int, config: EncoderConfig) -> Encoder:
    """Make an encoder of the family `config.kind`. inputs: F', values of one input frame."""
    families = {"lstm": LstmEncoder, "conformer": ConformerEncoder}
    return families[config.kind](inputs, getattr(config, config.kind))


class Transducer(nn.Module):
    """RNN-T (Graves 2012) over float frames, or over symbols that are embedded.

    inputs: F', values of one input frame; vocabulary: V with blank, which is the last index. embedding: turns numbers
    of input symbols (B, S) into frames (B, S, F'); None if the inputs are frames.
    """

    def __init__(self, inputs: int, vocabulary: int, config: ModelConfig, embedding: SymbolEmbedding | None = None):
        super().__init__()
        self.inputs = inputs
        self.vocabulary = vocabulary
        encoder = make_encoder(inputs, config.encoder)
        self.encoder = encoder if embedding is None else SymbolEncoder(embedding, encoder)
        self.predictor = Predictor(vocabulary - 1, config.predictor)
        self.joint = Joint(self.encoder.width, self.predictor.width, vocabulary, config.joint)
        self.encoder.reset(config)
        self.predictor.reset(config)

    @property
    def blank(self) -> int:
        """The index of blank, the last of the vocabulary."""
        return self.vocabulary - 1

    def loss(
        self,
        encoder_BTD: torch.Tensor,
        encoder_lengths: torch.Tensor,
        targets_BU: torch.Tensor,
        target_lengths: torch.Tensor,
        fastemit: float = 0.0,
        penalties: Penalties | None = None,
    ) -> torch.Tensor:
        """Return -log P(targets | frames) of each utterance, (B,), from the encoder's output.

        fastemit: weight by which FastEmit (Yu et al. 2021, arXiv 2010.11148) favours early symbols. It changes the
        gradient, not the loss. penalties: those of `transducer_loss`, for targets that may be wrong.
        """
        joint = self.joint
        return transducer_loss(
            joint.project_encoder(encoder_BTD),
            joint.project_predictor(self.predictor(targets_BU.to(encoder_BTD.device))),
            *joint.output_parameters,
            targets_BU,
            encoder_lengths,
            target_lengths,
            activation=joint.activation,
            dropout=joint.dropout if self.training else 0.0,
            fastemit=fastemit,
            reduction="none",
            penalties=penalties,
        )

    def forward(
        self,
        frames_BSF: torch.Tensor,
        lengths: torch.Tensor,
        targets_BU: torch.Tensor,
        target_lengths: torch.Tensor,
        fastemit: float = 0.0,
    ) -> torch.Tensor:
        """Return the loss of each utterance, (B,), from its input frames (B, S, F') and their lengths (B,)."""
        encoder_BTD, encoder_lengths = self.encoder(frames_BSF, lengths)
        return self.loss(encoder_BTD, encoder_lengths, targets_BU, target_lengths, fastemit)

    def num_parameters(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self.parameters())
