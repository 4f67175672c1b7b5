"""The Conformer layers against their equations, written out frame by frame, and what training needs of them."""

import pytest
import torch
from torch import nn

from rnnt.frames import valid_places
from rnnt.model.conformer import ConformerEncoder, FrameNorm
from rnnt.model_config import ConformerConfig, ModelConfig

LENGTHS = torch.tensor([11, 4, 1, 16])
SMALL = {"width": 8, "layers": 2, "heads": 2, "feed_forward": 2, "kernel": 3, "subsampling": 2, "channels": 3}


def make(**changes):
    torch.manual_seed(0)
    encoder = ConformerEncoder(5, ConformerConfig(**{**SMALL, **changes})).double().eval()
    with torch.no_grad():
        for name, value in [*encoder.named_parameters(), *encoder.named_buffers()]:
            if "norm" in name or "pos_bias" in name:
                value.add_(torch.rand_like(value))
    return encoder


def frames(lengths=LENGTHS, size=None):
    x_BSF = torch.randn(len(lengths), size or int(lengths.max()), 5, dtype=torch.float64)
    return x_BSF.masked_fill(~valid_places(lengths, x_BSF.shape[1])[:, :, None], torch.nan)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"subsampling": 4, "bias": False, "scale_input": False, "kernel": 5},
        {"attention_left": 2, "attention_right": 1},
        {"attention_left": 2, "attention_right": 1, "causal": True, "causal_subsampling": True, "norm": "layer"},
    ],
)
def test_equals_the_equations(written_out, changes):
    encoder = make(**changes)
    x_BSF = frames()
    with torch.no_grad():
        output, counts = encoder(x_BSF, LENGTHS)
        for i, (length, count) in enumerate(zip(LENGTHS, counts)):
            expected = written_out.encode(encoder, x_BSF[i, :length], ConformerConfig(**{**SMALL, **changes}))
            torch.testing.assert_close(output[i, :count], expected, rtol=1e-10, atol=1e-12)


def test_batch_normalization_counts_valid_frames_as_torch_would_count_them_alone():
    torch.manual_seed(0)
    ours, theirs = FrameNorm(4).double(), nn.BatchNorm1d(4).double()
    for _ in range(3):
        lengths = torch.tensor([5, 1, 3])
        x = torch.randn(3, 7, 4, dtype=torch.float64, requires_grad=True)
        valid = valid_places(lengths, 7)
        found, expected = ours(x, valid)[valid], theirs(x[valid])
        torch.testing.assert_close(found, expected)
        weight = torch.randn_like(found)
        wanted = torch.autograd.grad((expected * weight).sum(), (x, *theirs.parameters()))
        for a, b in zip(torch.autograd.grad((found * weight).sum(), (x, *ours.parameters())), wanted):
            torch.testing.assert_close(a, b)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x, valid)[valid], theirs.eval()(x[valid]))


def test_a_batch_without_finite_values_leaves_the_running_statistics():
    norm = FrameNorm(4)
    norm(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
    before = norm.running_mean.clone(), norm.running_var.clone()
    for value in (torch.nan, torch.inf):
        norm(torch.full((2, 3, 4), value), torch.ones(2, 3, dtype=torch.bool))
    norm(torch.randn(1, 1, 4), torch.zeros(1, 1, dtype=torch.bool))
    assert torch.equal(norm.running_mean, before[0]) and torch.equal(norm.running_var, before[1])


def test_in_training_too_padding_does_not_matter():
    encoder = make(dropout=0.0, attention_dropout=0.0).train()
    x_BSF = frames()
    results = []
    for more in (0, 5):
        encoder.zero_grad()
        padded = torch.cat((x_BSF, torch.full((len(x_BSF), more, 5), torch.nan)), 1)
        output, counts = encoder(padded, LENGTHS)
        valid = output[valid_places(counts, output.shape[1])]
        valid.square().sum().backward()
        results.append([valid.detach(), *(p.grad.clone() for p in encoder.parameters())])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_every_weight_gets_a_gradient_also_of_layers_that_are_left_out():
    """Processes that train together wait for the gradient of every weight."""
    encoder = make(layer_dropout=0.9).train()
    for _ in range(3):
        encoder.zero_grad()
        encoder(frames().nan_to_num(0.0), LENGTHS)[0].square().sum().backward()
        assert all(p.grad is not None for p in encoder.parameters())


def test_layers_are_left_out_for_each_utterance_with_the_mean_as_without():
    encoder = make(layers=3, layer_dropout=0.5, dropout=0.0)
    x_BTD = torch.zeros(4000, 1, 1)
    encoder.train()
    assert torch.equal(encoder._drop_layer(0, x_BTD, x_BTD + 1), x_BTD + 1)
    for number, share in ((1, 0.25), (2, 0.5)):
        output = encoder._drop_layer(number, x_BTD, x_BTD + 1)
        assert abs(float((output == 0).double().mean()) - share) < 0.05
        assert abs(float(output.mean()) - 1) < 0.1
    encoder.eval()
    assert torch.equal(encoder._drop_layer(2, x_BTD, x_BTD + 1), x_BTD + 1)


@pytest.mark.parametrize("name", ["dropout", "attention_dropout"])
def test_dropout_is_for_training(name):
    encoder = make(**{"dropout": 0.0, "attention_dropout": 0.0, name: 0.5}, norm="layer")
    x_BSF = frames().nan_to_num(0.0)
    with torch.no_grad():
        assert torch.equal(encoder(x_BSF, LENGTHS)[0], encoder(x_BSF, LENGTHS)[0])
        encoder.train()
        assert not torch.equal(encoder(x_BSF, LENGTHS)[0], encoder(x_BSF, LENGTHS)[0])


def test_some_batches_are_trained_without_limits():
    limited = {"dropout": 0.0, "attention_dropout": 0.0, "norm": "layer", "attention_left": 2, "attention_right": 0}
    encoder = make(**limited, unlimited_probability=0.5)
    x_BSF = frames().nan_to_num(0.0)
    with torch.no_grad():
        inside, _ = encoder(x_BSF, LENGTHS)
        whole, _ = make(**{**limited, "attention_left": -1, "attention_right": -1})(x_BSF, LENGTHS)
        assert not torch.equal(inside, whole)
        encoder.train()
        found = [encoder(x_BSF, LENGTHS)[0] for _ in range(30)]
    places = [min((inside, whole), key=lambda x: float((x - output).abs().sum())) is whole for output in found]
    assert 5 < sum(places) < 25
    for output, without in zip(found, places):
        valid = valid_places((LENGTHS + 1) // 2, output.shape[1])
        torch.testing.assert_close(output[valid], (whole if without else inside)[valid])


def test_bfloat16_under_autocast_is_near_float32():
    encoder = make(attention_left=2, attention_right=1, causal=True).float()
    x_BSF = frames().nan_to_num(0.0).float()
    exact, counts = encoder(x_BSF, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = encoder(x_BSF, LENGTHS)
        state = encoder.step(x_BSF, LENGTHS, encoder.start(4))[2]
    valid = valid_places(counts, output.shape[1])
    torch.testing.assert_close(output.float()[valid], exact[valid], rtol=0.1, atol=0.1)
    assert all(after.dtype == before.dtype for after, before in zip(state, encoder.start(4)))
    encoder.train()
    with torch.autocast("cpu", torch.bfloat16):
        encoder(x_BSF, LENGTHS)[0].float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_reset_draws_new_weights_and_starts_norms_and_biases_of_attention():
    encoder = make()
    weight = encoder.layers[1].feed_forward1.linear1.weight.clone()
    encoder.reset(ModelConfig())
    layer = encoder.layers[1]
    assert not torch.equal(layer.feed_forward1.linear1.weight, weight)
    assert layer.feed_forward1.linear1.weight.abs().max() <= 8**-0.5  # torch's default for 8 inputs
    assert not layer.self_attn.pos_bias_u.any() and not layer.self_attn.pos_bias_v.any()
    assert not layer.conv.batch_norm.running_mean.any() and (layer.conv.batch_norm.running_var == 1).all()
    assert (layer.norm_out.weight == 1).all()


@pytest.mark.parametrize(
    ("changes", "lookahead", "text"),
    [
        ({}, None, ""),
        ({"attention_left": 4}, None, ""),
        ({"attention_left": -1, "attention_right": 1, "causal": True}, None, ", chunks of 2 frames that see all"),
        ({"attention_left": 4, "attention_right": 1}, None, ", chunks of 2 frames that see 4 frames before them"),
        ({"attention_left": 4, "attention_right": 1, "causal": True}, 2, ", chunks of 2 frames that see 4 frames"),
        ({"attention_left": 0, "attention_right": 0, "causal": True, "causal_subsampling": True}, 0, ""),
    ],
)
def test_an_encoder_says_what_it_is(changes, lookahead, text):
    encoder = make(**changes)
    assert (encoder.width, encoder.stride, encoder.lookahead) == (8, 2, lookahead)
    assert encoder.describe().startswith(f"2 conformer layers of 8, 2 heads, subsampling by 2{text}")


def test_parameters_keep_their_names():
    """They are those of NeMo's checkpoints."""
    names = set(make(layers=1, subsampling=4).state_dict())
    norms = ["norm_feed_forward1", "norm_self_att", "norm_conv", "norm_feed_forward2", "norm_out", "conv.batch_norm"]
    linear = ["feed_forward1.linear1", "feed_forward1.linear2", "feed_forward2.linear1", "feed_forward2.linear2"]
    linear += [f"self_attn.linear_{name}" for name in ("q", "k", "v", "out")]
    linear += [f"conv.{name}" for name in ("pointwise_conv1", "depthwise_conv", "pointwise_conv2")]
    subsampling = ["pre_encode.conv.0", "pre_encode.conv.2", "pre_encode.conv.3", "pre_encode.out"]
    modules = [*subsampling, *(f"layers.0.{name}" for name in norms + linear)]
    assert names == {
        *(f"{name}.{kind}" for name in modules for kind in ("weight", "bias")),
        *(f"layers.0.self_attn.{name}" for name in ("linear_pos.weight", "pos_bias_u", "pos_bias_v")),
        *(f"layers.0.conv.batch_norm.running_{name}" for name in ("mean", "var")),
    }
