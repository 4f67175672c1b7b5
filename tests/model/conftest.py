"""The equations of the Conformer encoder, written out place by place, frame by frame and head by head.

They take one utterance without padding, and a module for its weights.
"""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch


def halve(image, weight, bias, causal):
    """A 3 x 3 convolution of stride 2 over image (C, S, F): weight (C', 3, 3) if depthwise, else (C', C, 3, 3)."""
    _, frames, bins = image.shape
    before = 2 if causal else 1
    new_bins = bins // 2 + 1 if causal else (bins + 1) // 2
    output = torch.zeros(len(bias), (frames + 1) // 2, new_bins, dtype=image.dtype)
    for c, t, f in itertools.product(*map(range, output.shape)):
        total = bias[c].clone()
        for i, j in itertools.product(range(3), range(3)):
            s, b = 2 * t + i - before, 2 * f + j - before
            if 0 <= s < frames and 0 <= b < bins:
                total += weight[c, i, j] * image[c, s, b] if weight.ndim == 3 else weight[c, :, i, j] @ image[:, s, b]
        output[c, t, f] = total
    return output


def subsample(subsampling, frames_SF, causal):
    """The frames (T, D) of one utterance."""
    weights = dict(subsampling.named_parameters())
    image = halve(frames_SF[None], weights["conv.0.weight"], weights["conv.0.bias"], causal).clamp(min=0)
    depthwise = any(weight.shape[2:] == (1, 1) for weight in weights.values() if weight.ndim == 4)
    for place in range(2, len(subsampling.conv), 3 if depthwise else 2):
        if not depthwise:
            image = halve(image, weights[f"conv.{place}.weight"], weights[f"conv.{place}.bias"], causal).clamp(min=0)
            continue
        image = halve(image, weights[f"conv.{place}.weight"][:, 0], weights[f"conv.{place}.bias"], causal)
        pointwise = weights[f"conv.{place + 1}.weight"][:, :, 0, 0]
        image = torch.einsum("oc,csf->osf", pointwise, image) + weights[f"conv.{place + 1}.bias"][:, None, None]
        image = image.clamp(min=0)
    rows = [torch.cat([image[c, t] for c in range(len(image))]) for t in range(image.shape[1])]
    return torch.stack([weights["out.weight"] @ row + weights["out.bias"] for row in rows])


def sinusoid(distance, width):
    """Sines and cosines of one distance, alternating."""
    angles = [distance / 10_000 ** (2 * (i // 2) / width) for i in range(width)]
    return torch.tensor([math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angles)], dtype=torch.float64)


def attend(attention, frames_KD, allowed_TK):
    """The output (T, D) of one utterance for its last T frames."""
    width = frames_KD.shape[1]
    size = width // attention.heads
    start = len(frames_KD) - len(allowed_TK)
    rows = []
    for i, allowed_K in enumerate(allowed_TK.tolist()):
        q = attention.linear_q(frames_KD[start + i])
        parts = []
        for head in range(attention.heads):
            one = slice(head * size, (head + 1) * size)
            u, v = attention.pos_bias_u[head], attention.pos_bias_v[head]
            weights, values = [], []
            for j in range(len(frames_KD)):
                if allowed_K[j]:
                    k = attention.linear_k(frames_KD[j])[one]
                    r = attention.linear_pos(sinusoid(start + i - j, width))[one]
                    weights.append(torch.exp(((q[one] + u) @ k + (q[one] + v) @ r) / math.sqrt(size)))
                    values.append(attention.linear_v(frames_KD[j])[one])
            parts.append(sum(w * x for w, x in zip(weights, values)) / sum(weights))
        rows.append(attention.linear_out(torch.cat(parts)))
    return torch.stack(rows)


def normalize(x_D, norm):
    x_D = (x_D - x_D.mean()) / torch.sqrt(((x_D - x_D.mean()) ** 2).mean() + 1e-5)
    return x_D * norm.weight + norm.bias


def swish(x_D):
    return x_D / (1 + torch.exp(-x_D))


def feed_forward(x_TD, norm, module):
    rows = (normalize(x_D, norm) for x_D in x_TD)
    return torch.stack([module.linear2(swish(module.linear1(x_D))) for x_D in rows])


def convolve(x_TD, norm, module, config):
    width, num_frames = x_TD.shape[1], len(x_TD)
    both = [module.pointwise_conv1(normalize(x_D, norm)) for x_D in x_TD]
    gated = [x[:width] / (1 + torch.exp(-x[width:])) for x in both]
    ahead = 0 if config.causal else config.kernel // 2
    rows = []
    for t in range(num_frames):
        total = torch.zeros(width) if module.depthwise_conv.bias is None else module.depthwise_conv.bias.clone()
        for i in range(config.kernel):
            place = t + ahead - (config.kernel - 1) + i
            if 0 <= place < num_frames:
                total = total + module.depthwise_conv.weight[:, 0, i] * gated[place]
        after = module.batch_norm
        if config.norm == "batch":
            total = (total - after.running_mean) / torch.sqrt(after.running_var + 1e-5) * after.weight + after.bias
        else:
            total = normalize(total, after)
        rows.append(module.pointwise_conv2(swish(total)))
    return torch.stack(rows)


def encode(encoder, frames_SF, config):
    """The frames (T, D) of one utterance."""
    x_TD = subsample(encoder.pre_encode, frames_SF, config.causal_subsampling)
    if config.scale_input:
        x_TD = x_TD * config.width**0.5
    chunk = config.attention_right + 1
    allowed_TK = torch.ones(len(x_TD), len(x_TD), dtype=torch.bool)
    if chunk:
        for i, k in itertools.product(range(len(x_TD)), repeat=2):
            allowed_TK[i, k] = i // chunk - config.attention_left // chunk <= k // chunk <= i // chunk
    for layer in encoder.layers:
        x_TD = x_TD + feed_forward(x_TD, layer.norm_feed_forward1, layer.feed_forward1) / 2
        normalized = torch.stack([normalize(x_D, layer.norm_self_att) for x_D in x_TD])
        x_TD = x_TD + attend(layer.self_attn, normalized, allowed_TK)
        x_TD = x_TD + convolve(x_TD, layer.norm_conv, layer.conv, config)
        x_TD = x_TD + feed_forward(x_TD, layer.norm_feed_forward2, layer.feed_forward2) / 2
        x_TD = torch.stack([normalize(x_D, layer.norm_out) for x_D in x_TD])
    return x_TD


@pytest.fixture
def written_out():
    return SimpleNamespace(subsample=subsample, attend=attend, encode=encode)
