"""The interface of all encoders (transcription networks): input frames -> encoder frames.

B utterances or streams, S input frames, F values of one, T encoder frames, D values of one.
"""

from typing import Any

import torch
from torch import nn

from rnnt.model_config import ModelConfig

State = Any  # tensors in a NamedTuple, each with the streams as dim 0: states are joined and split along it


class Encoder(nn.Module):
    """Turns frames (B, S, F) with lengths (B,) into frames (B, T, D) with lengths (B,), T = ceil(S / stride).

    Frames beyond the lengths may hold anything, and no utterance's result depends on the others in its batch. Streams
    are encoded chunk by chunk, with the same result:

        state = encoder.start(batch)
        for each chunk: encoder_BTD, lengths, state = encoder.step(frames_BSF, lengths, state)
        encoder_BTD, lengths = encoder.finish(state)
    """

    width: int  # D
    stride: int  # input frames for one encoder frame
    lookahead: int | None  # input frames of the future that an encoder frame needs; None: all of them

    def forward(self, frames_BSF: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode whole utterances."""
        raise NotImplementedError

    def start(self, batch: int) -> State:
        """Return the state of `batch` streams before their first frame.

        Raises ValueError if the encoder needs whole utterances (`lookahead` is None).
        """
        raise NotImplementedError

    def step(
        self, frames_BSF: torch.Tensor, lengths: torch.Tensor, state: State
    ) -> tuple[torch.Tensor, torch.Tensor, State]:
        """Encode one more chunk of each stream, the first `lengths` (B,) frames of which are valid.

        A length may be 0. Returns the encoder frames that are complete by now, how many each stream has, and the new
        state. The old state is not changed.
        """
        raise NotImplementedError

    def finish(self, state: State) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the encoder frames that are still owed at the end of the streams, and how many each stream has."""
        raise NotImplementedError

    def reset(self, config: ModelConfig) -> None:
        """Initialize the parameters as the settings ask."""
        raise NotImplementedError

    def describe(self) -> str:
        """Describe the layers in one line."""
        raise NotImplementedError
