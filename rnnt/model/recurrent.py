"""LSTM stacks that neither read nor need packed sequences."""

import torch
from torch import nn

from rnnt.frames import reverse_frames


def init_lstm(lstm: nn.LSTM, forget_bias: float, scale: float) -> None:
    """Initialize as the MLPerf model: forget gate's input-side bias `forget_bias`, hidden-side 0, then all x scale."""
    with torch.no_grad():
        for name, value in lstm.named_parameters():
            if name.startswith("bias"):
                forget = value[lstm.hidden_size : 2 * lstm.hidden_size]
                forget.fill_(forget_bias if name.startswith("bias_ih") else 0.0)
            value.mul_(scale)


class LstmStack(nn.Module):
    """`layers` LSTM layers with dropout after each; (B, T, I) -> (B, T, D).

    Padding lies at the end, where a forward LSTM meets it last; a backward one gets its input reversed within the
    lengths. So valid frames never see padding, and the fast kernels for whole tensors apply.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, dropout: float, bidirectional: bool = False):
        super().__init__()
        self.bidirectional = bidirectional
        self.dropout = nn.Dropout(dropout)
        if bidirectional:
            widths = [inputs] + [2 * hidden] * (layers - 1)
            self.forward_layers = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
            self.backward_layers = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
        else:
            self.lstm = nn.LSTM(inputs, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)

    def forward(self, x_BTI: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        if not self.bidirectional:
            return self.dropout(self.lstm(x_BTI)[0])
        for ahead, back in zip(self.forward_layers, self.backward_layers):
            reverse = reverse_frames(back(reverse_frames(x_BTI, lengths))[0], lengths)
            x_BTI = self.dropout(torch.cat([ahead(x_BTI)[0], reverse], dim=2))
        return x_BTI

    def reset(self, forget_bias: float, scale: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.LSTM):
                init_lstm(module, forget_bias, scale)
