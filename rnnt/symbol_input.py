"""Input of symbols: what `Features` is for audio, for models that read symbols such as letters."""

import torch
from torch import nn

from rnnt.config import Config, SymbolsConfig
from rnnt.features import Features


class SymbolInput(nn.Module):
    """Passes numbers of symbols (B, S) on to the model, which embeds them. It has the interface of `Features`."""

    joined = 1  # each symbol is a frame
    frame_seconds = 0.0  # symbols have no times
    why_not_streaming = ""
    streams = True

    def __init__(self, config: SymbolsConfig):
        super().__init__()
        self.config = config

    @property
    def width(self) -> int:
        """Number of values of an embedded symbol."""
        return self.config.embedding

    def forward(
        self, symbols_BS: torch.Tensor, lengths: torch.Tensor, augmentation: object = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the symbols as they are, and their lengths (B,) on their device. augmentation: only changes audio."""
        return symbols_BS, lengths.to(symbols_BS.device, non_blocking=symbols_BS.device.type == "cuda")

    def describe(self, stride: int) -> str:
        """Describe the input in one line. stride: symbols of an encoder frame."""
        each = "each symbol" if stride == 1 else f"every {stride} symbols"
        return f"symbols ({self.config.unicode}), one encoder frame for {each}"

    def num_frames(self, lengths: torch.Tensor) -> torch.Tensor:
        """Return the lengths (B,): each symbol is a frame."""
        return lengths


Input = Features | SymbolInput


def make_input(config: Config) -> Input:
    """Return the front end that `config.input` names, on the CPU."""
    with torch.device("cpu"):  # arithmetic on the device "meta" imports torch's compiler, which takes seconds
        return SymbolInput(config.symbols) if config.input == "symbols" else Features(config.features)
