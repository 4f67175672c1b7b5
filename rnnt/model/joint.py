"""The joint network: an encoder frame and a predictor output -> scores of all symbols, and of durations."""

from collections.abc import Sequence

import torch
from torch import nn

from rnnt.loss.scores import node_scores, scores_at_nodes
from rnnt.model_config import JointConfig


class Joint(nn.Module):
    """Scores of all V symbols at one node of the lattice.

    kind "network": activation(Linear(encoder) + Linear(predictor)), dropout, Linear to the V symbols.
    kind "additive": Linear(encoder) + Linear(predictor), both of width V (Graves 2012, arXiv 1211.3711, section 2.3).
    `output` is then None.

    With `config.durations` the scores of these follow those of the symbols (token-and-duration transducer: Xu et al.
    2023, arXiv 2304.06795). They say how many encoder frames the search goes on with the symbol or the blank. The
    lattice of the losses and alignments knows none, so `output_parameters`, `node_scores` and `scores_at_nodes` raise
    ValueError then.

    Each projection is computed once for a frame or a predictor output, and is then used at many nodes.
    """

    def __init__(self, encoder_width: int, predictor_width: int, vocabulary: int, config: JointConfig):
        super().__init__()
        self.additive = additive = config.kind == "additive"
        self.durations = tuple(config.durations)
        outputs = vocabulary + len(self.durations)
        self.width = outputs if additive else config.hidden
        self.encoder_width, self.predictor_width = encoder_width, predictor_width
        self.encoder = nn.Linear(encoder_width, self.width)
        self.predictor = nn.Linear(predictor_width, self.width)
        self.output = None if additive else nn.Linear(config.hidden, outputs)
        self.activation = config.activation
        self.dropout = 0.0 if additive else config.dropout

    def project_encoder(self, encoder_BTD: torch.Tensor) -> torch.Tensor:
        """Encoder frames (..., D) -> (..., H), an input of `forward`. H is `width`."""
        return self.encoder(encoder_BTD)

    def project_predictor(self, predictor_BUD: torch.Tensor) -> torch.Tensor:
        """Predictor outputs (..., D) -> (..., H), the other input of `forward`."""
        return self.predictor(predictor_BUD)

    @property
    def output_parameters(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The weight (V, H) and the bias (V,) of the output layer, as the losses take them; None if there is none."""
        require_no_durations(self.durations)
        return (None, None) if self.output is None else (self.output.weight, self.output.bias)

    def forward(self, encoder_H: torch.Tensor, predictor_H: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of projected inputs (..., H) whose shapes broadcast to each other. Without dropout.

        With durations, their logits follow: (..., V + number of durations).
        """
        sum_H = encoder_H + predictor_H
        return sum_H if self.output is None else self.output(getattr(torch, self.activation)(sum_H))

    def node_scores(
        self,
        encoder_BTH: torch.Tensor,
        predictor_BUH: torch.Tensor,
        targets_BU: torch.Tensor,
        encoder_lengths: torch.Tensor,
        target_lengths: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (B, T, U+1) of blank and of the next target symbol at each node, as `loss.node_scores`."""
        lattices = targets_BU, encoder_lengths, target_lengths
        return node_scores(encoder_BTH, predictor_BUH, *self.output_parameters, *lattices, activation=self.activation)

    def scores_at_nodes(
        self,
        encoder_BTH: torch.Tensor,
        predictor_BUH: torch.Tensor,
        targets_BU: torch.Tensor,
        encoder_lengths: torch.Tensor,
        target_lengths: torch.Tensor,
        node_N: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (N,) of blank and of the next target symbol at chosen nodes, as `loss.scores_at_nodes`."""
        lattices = targets_BU, encoder_lengths, target_lengths
        return scores_at_nodes(encoder_BTH, predictor_BUH, *self.output_parameters, *lattices, node_N, self.activation)


def require_no_durations(durations: Sequence[int]) -> None:
    """Raise ValueError if there are durations, in whose presence the lattice of plain transducers means nothing."""
    if durations:
        raise ValueError(
            "this is a token-and-duration model, which can transcribe, but not be trained, scored by its loss, or "
            "aligned with a text; take a model without model.joint.durations"
        )
