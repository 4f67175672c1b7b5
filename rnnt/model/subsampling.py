"""Convolutions that turn every `factor` input frames into one, for whole utterances and for streams.

B utterances or streams, S input frames, F values of one, C channels, T encoder frames, D values of one.
"""

import torch
from torch import nn
from torch.nn import functional as F

from rnnt.frames import frames_from


class Subsampling(nn.Module):
    """Depthwise convolutional subsampling: (B, S, F) -> (B, ceil(S / factor), D).

    That of FastConformer (Rekesh et al. 2023, arXiv 2305.05084). The frames are an image, which each stage halves in
    time and frequency: a 3 x 3 convolution of stride 2 (depthwise and then pointwise from the second stage on) and a
    ReLU. Last, the channels and bins of a frame are projected to D. With depthwise=False all convolutions are full, as
    in Conformer (Gulati et al. 2020, arXiv 2005.08100).

    Encoder frame t sees the input frames from factor (t - 1) + 1 to factor (t + 1) - 1, which is the last one of its
    own. If causal, it sees those from factor (t - 2) + 2 to factor t.

    Every stage pads with zeros, also after the last valid frame of each utterance. Names, shapes and results are those
    of NeMo's `dw_striding`, or `striding` if not depthwise, except that NeMo's causal ones have another frame at the
    end, which mostly sees padding.
    """

    def __init__(self, inputs: int, width: int, factor: int, channels: int, causal: bool, depthwise: bool = True):
        super().__init__()
        self.factor = factor
        # Zeros to pad with: at the low and high frequencies, before the first and after the last frame.
        self._padding = (2, 1, 2, 0) if causal else (1, 1, 1, 1)
        self._causal = causal
        self._past = 2 if causal else 1  # an encoder frame sees less than this number times `factor` past frames
        layers = [nn.Conv2d(1, channels, 3, 2), nn.ReLU()]
        bins = self._halved(inputs)
        for _ in range(factor.bit_length() - 2):
            layers.append(nn.Conv2d(channels, channels, 3, 2, groups=channels if depthwise else 1))
            layers += [nn.Conv2d(channels, channels, 1), nn.ReLU()] if depthwise else [nn.ReLU()]
            bins = self._halved(bins)
        self.conv = nn.Sequential(*layers)
        self.out = nn.Linear(channels * bins, width)

    def forward(self, frames_BSF: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Subsample whole utterances."""
        return self._convolve(frames_BSF, torch.zeros_like(lengths), lengths), self._ceil(lengths)

    @property
    def memory(self) -> int:
        """The number of past input frames that `step` asks for."""
        return 2 * self.factor

    def count(self, num_frames: torch.Tensor) -> torch.Tensor:
        """Return how many encoder frames are complete after this number of input frames of a stream."""
        return self._ceil(num_frames) if self._causal else num_frames // self.factor

    def step(
        self, frames_BSF: torch.Tensor, lengths: torch.Tensor, past_BSF: torch.Tensor, before: torch.Tensor, last: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Subsample one more chunk of each stream, the first `lengths` (B,) frames of which are valid.

        past_BSF: the last `memory` frames before it; before: (B,), how many the stream had. last: the streams end here.
        Returns the encoder frames that are complete by now, their number in each stream, and the new past.
        """
        total = before + lengths
        done, ready = self.count(before), self._ceil(total) if last else self.count(total)
        joined_BSF = torch.cat((past_BSF, frames_BSF), 1)
        # Convolved anew: the frames that the new encoder frames see, from a place on that every stage can halve.
        first = (done - self._past) * self.factor
        size = (int((ready - done).max()) + self._past) * self.factor
        window_BSF = frames_from(joined_BSF, first - before + self.memory, size)
        x_BTD = self._convolve(window_BSF, first, total)[:, self._past :]
        return x_BTD, ready - done, frames_from(joined_BSF, lengths, self.memory)

    def _convolve(self, x_BSF: torch.Tensor, first: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """Subsample frames of which place 0 is frame `first` (B,) of its stream; valid are those from 0 to `end`."""
        x_BCSF = x_BSF[:, None]
        for layer in self.conv:
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                places_BS = first[:, None] + torch.arange(x_BCSF.shape[2], device=first.device)
                padding_BS = (places_BS < 0) | (places_BS >= end[:, None])
                x_BCSF = F.pad(x_BCSF.masked_fill(padding_BS[:, None, :, None], 0.0), self._padding)
                first, end = first // 2, (end + 1) // 2
            x_BCSF = layer(x_BCSF)
        return self.out(x_BCSF.transpose(1, 2).flatten(2))

    def _halved(self, bins: int) -> int:
        low, high, *_ = self._padding
        return (bins + low + high - 3) // 2 + 1

    def _ceil(self, num_frames: torch.Tensor) -> torch.Tensor:
        return (num_frames + self.factor - 1) // self.factor
