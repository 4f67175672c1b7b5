"""Several transducers of one vocabulary as one: at each node of the lattice, the mean of their probabilities.

M members, B utterances, T encoder frames, U symbols (in a tensor's name the U+1 columns of the lattice), N nodes. D and
H are the sums of the members' widths: what the members need of a frame or of a prefix lies side by side in one vector.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from rnnt.loss.lattice import forward_backward
from rnnt.model.joint import Joint
from rnnt.model.predictor import Predictor
from rnnt.model.transducer import Transducer

State = tuple[torch.Tensor, ...]


class EnsemblePredictor(nn.Module):
    """The predictors of all members, each with the same symbols. A state holds theirs one after the other."""

    def __init__(self, predictors: Sequence[Predictor]):
        super().__init__()
        self.members = nn.ModuleList(predictors)

    def forward(self, targets_BU: torch.Tensor) -> torch.Tensor:
        """Targets (B, U) -> (B, U+1, D), as `Predictor`."""
        return torch.cat([member(targets_BU) for member in self.members], -1)

    def start(self, batch: int) -> tuple[torch.Tensor, State]:
        """Return the output (B, D) and the state before the first symbol."""
        return _join(member.start(batch) for member in self.members)

    def step(self, symbols_B: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Return the output (B, D) and the state after one more symbol of each utterance."""
        size = len(state) // len(self.members)
        states = (state[first : first + size] for first in range(0, len(state), size))
        return _join(member.step(symbols_B, each) for member, each in zip(self.members, states))


class EnsembleJoint(nn.Module):
    """The joints of all members. The score of a symbol is the logarithm of the mean of its probabilities.

    These scores are normalised: a softmax leaves them as they are. So a search treats them as it treats logits.
    """

    def __init__(self, joints: Sequence[Joint]):
        super().__init__()
        self.durations = ()
        self.additive = False  # whatever the members are: their probabilities are added up, not their scores
        self.members = nn.ModuleList(joints)
        self.encoder_width = sum(joint.encoder_width for joint in joints)
        self.width = sum(joint.width for joint in joints)

    def project_encoder(self, encoder_BTD: torch.Tensor) -> torch.Tensor:
        """Encoder frames (..., D) -> (..., H), an input of `forward`."""
        parts = encoder_BTD.split([member.encoder_width for member in self.members], -1)
        return torch.cat([member.project_encoder(part) for member, part in zip(self.members, parts)], -1)

    def project_predictor(self, predictor_BUD: torch.Tensor) -> torch.Tensor:
        """Predictor outputs (..., D) -> (..., H), the other input of `forward`."""
        parts = predictor_BUD.split([member.predictor_width for member in self.members], -1)
        return torch.cat([member.project_predictor(part) for member, part in zip(self.members, parts)], -1)

    def forward(self, encoder_H: torch.Tensor, predictor_H: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (..., V) of projected inputs (..., H) whose shapes broadcast to each other."""
        logits = (member(*inputs) for member, *inputs in self._split(encoder_H, predictor_H))
        return _log_mean([each.to(torch.promote_types(each.dtype, torch.float32)).log_softmax(-1) for each in logits])

    def node_scores(
        self, encoder_BTH: torch.Tensor, predictor_BUH: torch.Tensor, *lattices: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (B, T, U+1) of blank and of the next target symbol at each node, as `Joint`."""
        inputs = self._split(encoder_BTH, predictor_BUH)
        return _log_means(member.node_scores(*projected, *lattices) for member, *projected in inputs)

    def scores_at_nodes(
        self, encoder_BTH: torch.Tensor, predictor_BUH: torch.Tensor, *lattices_and_nodes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (N,) of blank and of the next target symbol at chosen nodes, as `Joint`."""
        inputs = self._split(encoder_BTH, predictor_BUH)
        return _log_means(member.scores_at_nodes(*projected, *lattices_and_nodes) for member, *projected in inputs)

    def _split(
        self, encoder_H: torch.Tensor, predictor_H: torch.Tensor
    ) -> Iterator[tuple[Joint, torch.Tensor, torch.Tensor]]:
        widths = [member.width for member in self.members]
        return zip(self.members, encoder_H.split(widths, -1), predictor_H.split(widths, -1))


class Ensemble(nn.Module):
    """Takes the place of a `Transducer` in searches, alignments and the loss.

    Each symbol at each node has the mean of the probabilities that the members give it, so a member that is unsure
    counts little there. The members have one vocabulary, and may differ in all else. Their encoders are not here,
    because each reads its own features. The encoder's frames (B, T, D) of an ensemble are the members' frames, joined
    in the order of the members. All members must have equally many.
    """

    def __init__(self, members: Sequence[Transducer]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.vocabulary = members[0].vocabulary
        self.predictor = EnsemblePredictor([member.predictor for member in members])
        self.joint = EnsembleJoint([member.joint for member in members])

    @property
    def blank(self) -> int:
        """The index of blank, the last of the vocabulary."""
        return self.vocabulary - 1

    @torch.no_grad()
    def loss(
        self,
        encoder_BTD: torch.Tensor,
        encoder_lengths: torch.Tensor,
        targets_BU: torch.Tensor,
        target_lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Return -log P(targets | frames) of each utterance, (B,), without a gradient; inf if it is not finite.

        It is the sum over all alignments of products of mean probabilities. The logits exist for a few nodes at a time.
        """
        projected = (
            self.joint.project_encoder(encoder_BTD),
            self.joint.project_predictor(self.predictor(targets_BU.to(encoder_BTD.device))),
        )
        scores = self.joint.node_scores(*projected, targets_BU, encoder_lengths, target_lengths)
        lengths = (x.to(encoder_BTD.device) for x in (encoder_lengths, target_lengths))
        log_p, _, _ = forward_backward(*scores, *lengths)
        return torch.where(torch.isfinite(log_p), -log_p, torch.inf)

    def num_parameters(self) -> int:
        """Number of trained values of all members."""
        return sum(member.num_parameters() for member in self.members)


def _join(results: Iterator[tuple[torch.Tensor, State]]) -> tuple[torch.Tensor, State]:
    """Put the outputs (B, D) of the members' predictors and their states together."""
    outputs, states = zip(*results)
    return torch.cat(outputs, -1), tuple(x for state in states for x in state)


def _log_mean(log_probs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the logarithm of the mean of M probabilities."""
    return torch.logsumexp(torch.stack(log_probs), 0) - math.log(len(log_probs))


def _log_means(scores: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same of blank and of label."""
    blanks, labels = zip(*scores)
    return _log_mean(blanks), _log_mean(labels)
