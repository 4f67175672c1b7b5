"""FastConformer encoder (Rekesh et al. 2023, arXiv 2305.05084): subsampling, then Conformer layers.

B utterances or streams, S input frames, F values of one, T encoder frames, D values of one, L layers, K kernel size.
The parameters have the names of NeMo's ConformerEncoder, and for equal weights the results are equal. A pointwise
convolution is a linear map here, so its weight lacks NeMo's last dimension, which is 1.
"""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from rnnt.frames import frames_from
from rnnt.model.attention import RelativeAttention, attention_limits, encode_distances
from rnnt.model.encoder import Encoder
from rnnt.model.subsampling import Subsampling
from rnnt.model_config import ConformerConfig, ModelConfig

_Past = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # keys, values, inputs of the convolution; (B, ., D) of a layer


class FeedForward(nn.Module):
    """Linear to more units, swish, dropout, linear back: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: ConformerConfig):
        super().__init__()
        hidden = config.width * config.feed_forward
        self.linear1 = nn.Linear(config.width, hidden, config.bias)
        self.linear2 = nn.Linear(hidden, config.width, config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """Apply to each frame alone."""
        return self.linear2(self.dropout(F.silu(self.linear1(x_BTD))))


class FrameNorm(nn.Module):
    """Batch normalization over the valid frames (B, T, D) of a batch. Padding does not count, in contrast to torch's.

    In training, a batch with values that are not finite leaves the running statistics as they are.
    """

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        self.register_buffer("running_mean", torch.empty(width))
        self.register_buffer("running_var", torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start with mean 0, deviation 1."""
        for ones, zeros in ((self.weight, self.bias), (self.running_var, self.running_mean)):
            nn.init.ones_(ones)
            nn.init.zeros_(zeros)

    def forward(self, x_BTD: torch.Tensor, valid_BT: torch.Tensor) -> torch.Tensor:
        """Normalize by the batch's statistics in training, by the running ones otherwise."""
        with torch.autocast(x_BTD.device.type, enabled=False):
            x_BTD = x_BTD.to(self.weight.dtype)
            mean, var = self._measure(x_BTD, valid_BT) if self.training else (self.running_mean, self.running_var)
            return (x_BTD - mean) * (torch.rsqrt(var + 1e-5) * self.weight) + self.bias

    def _measure(self, x_BTD: torch.Tensor, valid_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        padding_BT1 = ~valid_BT[:, :, None]
        count = valid_BT.sum().clamp(min=1)
        mean = x_BTD.masked_fill(padding_BT1, 0.0).sum((0, 1)) / count
        squares = (x_BTD - mean).masked_fill(padding_BT1, 0.0).square().sum((0, 1))
        with torch.no_grad():
            usable = torch.isfinite(squares).all() & valid_BT.any()
            new = (mean, squares / (count - 1).clamp(min=1))  # unbiased, as torch keeps it
            for old, value in zip((self.running_mean, self.running_var), new):
                old.copy_(torch.where(usable, torch.lerp(old, value, 0.1), old))
        return mean, squares / count


class Convolution(nn.Module):
    """Pointwise, gate, depthwise over K frames, normalization, swish, pointwise: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: ConformerConfig):
        super().__init__()
        width, kernel = config.width, config.kernel
        self.padding = (kernel - 1, 0) if config.causal else (kernel // 2, kernel // 2)
        self.pointwise_conv1 = nn.Linear(width, 2 * width, config.bias)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, groups=width, bias=config.bias)
        self.batch_norm = FrameNorm(width) if config.norm == "batch" else nn.LayerNorm(width)
        self.pointwise_conv2 = nn.Linear(width, width, config.bias)

    def forward(
        self, x_BTD: torch.Tensor, valid_BT: torch.Tensor, past_BKD: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Convolve frames. past_BKD: the K - 1 inputs of the depthwise convolution before them; None: zeros.

        Returns the output, and the inputs of the depthwise convolution with those before them.
        """
        x_BTD = F.glu(self.pointwise_conv1(x_BTD), 2).masked_fill(~valid_BT[:, :, None], 0.0)
        if past_BKD is None:
            inputs_BTD = F.pad(x_BTD, (0, 0, *self.padding))
        else:
            inputs_BTD = torch.cat((past_BKD.to(x_BTD.dtype), x_BTD), 1)
        x_BTD = self.depthwise_conv(inputs_BTD.transpose(1, 2)).transpose(1, 2)
        x_BTD = self.batch_norm(x_BTD, valid_BT) if isinstance(self.batch_norm, FrameNorm) else self.batch_norm(x_BTD)
        return self.pointwise_conv2(F.silu(x_BTD)), inputs_BTD


class ConformerLayer(nn.Module):
    """Half a feed-forward step, attention, convolution, and again half a feed-forward step: (B, T, D) -> (B, T, D).

    That of Gulati et al. 2020, arXiv 2005.08100. Each module normalizes its input, and its output is added to the input
    from before. A last normalization follows.
    """

    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.norm_feed_forward1 = nn.LayerNorm(config.width)
        self.feed_forward1 = FeedForward(config)
        self.norm_self_att = nn.LayerNorm(config.width)
        self.self_attn = RelativeAttention(config.width, config.heads, config.attention_dropout, config.bias)
        self.norm_conv = nn.LayerNorm(config.width)
        self.conv = Convolution(config)
        self.norm_feed_forward2 = nn.LayerNorm(config.width)
        self.feed_forward2 = FeedForward(config)
        self.norm_out = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BTD: torch.Tensor,
        valid_BT: torch.Tensor,
        distances_PD: torch.Tensor,
        allowed_BTK: torch.Tensor,
        past: _Past | None = None,
    ) -> tuple[torch.Tensor, _Past]:
        """Run the layer. past: of the frames before; returned with these frames appended. See the modules."""
        *attended, convolved = past or (None,)
        x_BTD = x_BTD + 0.5 * self.dropout(self.feed_forward1(self.norm_feed_forward1(x_BTD)))
        change_BTD, attended = self.self_attn(
            self.norm_self_att(x_BTD), distances_PD, allowed_BTK, attended if past else None
        )
        x_BTD = x_BTD + self.dropout(change_BTD)
        change_BTD, convolved = self.conv(self.norm_conv(x_BTD), valid_BT, convolved)
        x_BTD = x_BTD + self.dropout(change_BTD)
        x_BTD = x_BTD + 0.5 * self.dropout(self.feed_forward2(self.norm_feed_forward2(x_BTD)))
        return self.norm_out(x_BTD), (*attended, convolved)


class ConformerState(NamedTuple):
    """The state of `ConformerEncoder`, each field with the streams as dim 0."""

    frames: torch.Tensor  # (B, ., F), the last input frames
    num_frames: torch.Tensor  # (B,), input frames so far
    pending: torch.Tensor  # (B, chunk - 1, D), the last subsampled frames; those of an unfinished chunk still wait
    keys: torch.Tensor  # (B, L, attention_left, D), of the attention
    values: torch.Tensor
    convolved: torch.Tensor  # (B, L, K - 1, D), inputs of the depthwise convolutions


class ConformerEncoder(Encoder):
    """Subsampling and Conformer layers.

    Whole utterances get the same limits of attention as streams do. Streams come out in chunks of
    attention_right + 1 frames. They need limits on both sides and causal convolutions; `lookahead` is None otherwise.
    """

    def __init__(self, inputs: int, config: ConformerConfig):
        super().__init__()
        self.width = config.width
        self.stride = config.subsampling
        self._config = config
        self._inputs = inputs
        self.pre_encode = Subsampling(
            inputs, config.width, config.subsampling, config.channels, config.causal_subsampling, config.depthwise
        )
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        self._scale = math.sqrt(config.width) if config.scale_input else 1.0
        saved = self.stride - 1 if config.causal_subsampling else 0
        streams = config.causal and min(config.attention_left, config.attention_right) >= 0
        self.lookahead = max(config.attention_right * self.stride - saved, 0) if streams else None

    def forward(self, frames_BSF: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode whole utterances."""
        x_BTD, lengths = self.pre_encode(frames_BSF, lengths)
        unlimited = self.training and float(torch.rand(())) < self._config.unlimited_probability
        x_BTD, _ = self._run(x_BTD.to(frames_BSF.dtype), lengths, torch.zeros_like(lengths), unlimited)
        return x_BTD, lengths

    def start(self, batch: int) -> ConformerState:
        """Return the state of streams before their first frame. Raises ValueError if `lookahead` is None."""
        config, like = self._config, self.pre_encode.out.weight
        if self.lookahead is None:
            raise ValueError(
                "this model's encoder needs whole utterances; for streams, train one with limits such as "
                "model.encoder.conformer.attention_left=28, attention_right=6 and causal=true"
            )
        keys = like.new_zeros(batch, config.layers, config.attention_left, self.width)
        return ConformerState(
            like.new_zeros(batch, self.pre_encode.memory, self._inputs),
            torch.zeros(batch, dtype=torch.long, device=like.device),
            like.new_zeros(batch, config.attention_right, self.width),
            keys,
            keys,
            like.new_zeros(batch, config.layers, config.kernel - 1, self.width),
        )

    def step(
        self, frames_BSF: torch.Tensor, lengths: torch.Tensor, state: ConformerState
    ) -> tuple[torch.Tensor, torch.Tensor, ConformerState]:
        """Encode one more chunk of each stream. Meant for evaluation mode: there is no dropout."""
        return self._advance(frames_BSF, lengths, state, False)

    def finish(self, state: ConformerState) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the frames of an unfinished chunk, and how many each stream has."""
        nothing = state.num_frames.new_zeros(len(state.frames))
        return self._advance(state.frames[:, :0], nothing, state, True)[:2]

    def _advance(
        self, frames_BSF: torch.Tensor, lengths: torch.Tensor, state: ConformerState, last: bool
    ) -> tuple[torch.Tensor, torch.Tensor, ConformerState]:
        x_BTD, new, frames = self.pre_encode.step(frames_BSF, lengths, state.frames, state.num_frames, last)
        keep, chunk = state.pending.shape[1], state.pending.shape[1] + 1
        counted = self.pre_encode.count(state.num_frames)
        waiting = counted % chunk
        ready = waiting + new if last else (waiting + new) // chunk * chunk
        joined_BTD = torch.cat((state.pending, x_BTD.to(state.pending.dtype)), 1)
        x_BTD = frames_from(joined_BTD, keep - waiting, int(ready.max()))
        past = (state.keys, state.values, state.convolved)
        if x_BTD.shape[1]:
            x_BTD, past = self._run(x_BTD, ready, counted - waiting, past=past)
        state = ConformerState(frames, state.num_frames + lengths, frames_from(joined_BTD, new, keep), *past)
        return x_BTD, ready, state

    def _run(
        self,
        x_BTD: torch.Tensor,
        lengths: torch.Tensor,
        done: torch.Tensor,
        unlimited: bool = False,
        past: _Past | None = None,
    ) -> tuple[torch.Tensor, _Past | None]:
        """Run the layers on subsampled frames, which follow `done` (B,) others of each stream.

        past: the caches that the others have left, (B, L, ., D). Returns the encoder frames and the new caches.
        """
        config, size = self._config, x_BTD.shape[1]
        before = 0 if past is None else config.attention_left
        left, right = (-1, -1) if unlimited else (config.attention_left, config.attention_right)
        places_K = torch.arange(-before, size, device=x_BTD.device)
        valid_BK = (places_K >= -done[:, None]) & (places_K < lengths[:, None])
        allowed_BTK = attention_limits(size, before, left, right, x_BTD.device) & valid_BK[:, None]
        distances_PD = encode_distances(size, before + size, self.width, x_BTD)
        x_BTD = self.dropout(x_BTD * self._scale)
        caches = []
        for i, layer in enumerate(self.layers):
            own = None if past is None else tuple(x[:, i] for x in past)
            output_BTD, cache = layer(x_BTD, valid_BK[:, before:], distances_PD, allowed_BTK, own)
            x_BTD = self._drop_layer(i, x_BTD, output_BTD)
            if own is not None:
                caches.append([frames_from(x, lengths, old.shape[1]).to(old.dtype) for x, old in zip(cache, own)])
        return x_BTD, None if past is None else tuple(torch.stack(x, 1) for x in zip(*caches))

    def _drop_layer(self, number: int, input_BTD: torch.Tensor, output_BTD: torch.Tensor) -> torch.Tensor:
        """Leave out a layer in training: in a random share of the utterances, with the mean as without (Huang 2016)."""
        drop = self._config.layer_dropout * number / max(len(self.layers) - 1, 1)
        if not (self.training and drop):
            return output_BTD
        kept_B11 = torch.rand(len(input_BTD), 1, 1, device=input_BTD.device) >= drop
        return input_BTD + kept_B11 * (output_BTD - input_BTD) / (1 - drop)

    def reset(self, config: ModelConfig) -> None:
        """Initialize as torch does by default and NeMo too. `config` has no settings for this family."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LayerNorm, FrameNorm, RelativeAttention)):
                module.reset_parameters()

    def describe(self) -> str:
        """Describe the layers, as in "17 conformer layers of 512, 8 heads, subsampling by 8"."""
        config = self._config
        text = f"{config.layers} conformer layers of {config.width}, {config.heads} heads, subsampling by {self.stride}"
        if config.attention_right < 0:
            return text
        left = "all" if config.attention_left < 0 else f"{config.attention_left} frames"
        return f"{text}, chunks of {config.attention_right + 1} frames that see {left} before them"
