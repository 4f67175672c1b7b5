"""A transducer's internal language model as a scorer: the predictor and the joint, without the encoder."""

from dataclasses import dataclass

import torch

from rnnt.model import Transducer

State = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class InternalLm:
    """A Scorer that adds the weighted log-probabilities of a transducer's own language model.

    The joint gets an encoder frame of zeros. Blank is removed, and the probabilities of the symbols are normalised
    again (ILME: Meng et al. 2020, arXiv 2011.01991). With a negative weight this model is subtracted. It has no end of
    a sentence.

    A state is the projected output of the predictor (n, H), followed by the tensors of the predictor's state.
    """

    weight: float
    model: Transducer

    @property
    def blank_weight(self) -> float:
        """The weight with which the model's decision for or against blank counts as the language model's."""
        return self.weight

    def start(self, batch: int) -> State:
        """Return the state before the first symbol."""
        with self._full_precision():
            output, state = self.model.predictor.start(batch)
            return self.model.joint.project_predictor(output), *state

    def scores(self, state: State) -> torch.Tensor:
        """Return the weighted log-probability (n, V-1) of each symbol after each hypothesis."""
        joint = self.model.joint
        with self._full_precision():
            silent_D = state[0].new_zeros(joint.encoder_width)
            logits = joint(joint.project_encoder(silent_D), state[0])
            return torch.log_softmax(logits[:, : self.model.blank], -1) * self.weight

    def advance(self, state: State, symbols: torch.Tensor) -> State:
        """Return the state after one more symbol (n,) of each hypothesis."""
        with self._full_precision():
            output, after = self.model.predictor.step(symbols, state[1:])
            return self.model.joint.project_predictor(output), *after

    def finish(self, state: State) -> torch.Tensor:
        """Return zeros (n,)."""
        return state[0].new_zeros(len(state[0]))

    def _full_precision(self) -> torch.autocast:
        # All states then have the type of the weights, wherever a search begins to use smaller numbers.
        return torch.autocast(next(self.model.parameters()).device.type, enabled=False)
