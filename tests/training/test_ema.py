"""The moving average against its definition in float64, and the exchange of weights."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from rnnt.training.ema import Ema


def model_of(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.ModuleDict({"lstm": nn.LSTM(3, 4), "norm": nn.BatchNorm1d(4)}).to(dtype)


def disturb(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in [*model.parameters(), *model.buffers()]:
            if weight.is_floating_point():
                weight.add_(torch.randn(weight.shape, generator=generator).to(weight.dtype))
            else:
                weight.add_(1)


def floats(model):
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: w.detach().double().numpy().copy() for name, w in named.items() if w.is_floating_point()}


@pytest.mark.parametrize("warmup", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12), (torch.bfloat16, 1e-5)]
)
def test_averages_follow_the_definition(warmup, dtype, tolerance):
    model = model_of(dtype)
    ema = Ema(model, 0.95, warmup=warmup)
    expected = floats(model)
    for n in range(1, 40):
        disturb(model, n)
        ema.update()
        decay = min(0.95, (1 + n) / (10 + n)) if warmup else 0.95
        expected = {name: decay * expected[name] + (1 - decay) * w for name, w in floats(model).items()}
    assert set(ema.averages) == set(expected) and "norm.running_mean" in expected
    for name, average in ema.averages.items():
        assert average.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        np.testing.assert_allclose(average.double().numpy(), expected[name], rtol=tolerance, atol=tolerance)


def test_swapped_gives_averages_and_restores_the_bits():
    model = model_of()
    ema = Ema(model, 0.9)
    disturb(model, 1)
    ema.update()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    places = [weight.data_ptr() for weight in model.parameters()]
    with ema.swapped() as averaged:
        assert averaged is model
        for name, weight in model.state_dict().items():
            assert torch.equal(weight, ema.averages.get(name, before[name]))
        assert int(model["norm"].num_batches_tracked) == 1  # a counter is the model's own
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert [weight.data_ptr() for weight in model.parameters()] == places

    with pytest.raises(KeyError), ema.swapped():
        raise KeyError
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_decay_zero_evaluates_the_model_itself():
    model = model_of()
    ema = Ema(model, 0)
    disturb(model, 1)
    ema.update()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with ema.swapped() as same:
        assert all(torch.equal(weight, before[name]) for name, weight in same.state_dict().items())
    assert ema.state_dict() == {"updates": 1, "averages": {}}


@pytest.mark.parametrize("warmup", [False, True])
def test_state_round_trips_bit_for_bit(warmup):
    model = model_of()
    ema = Ema(model, 0.99, warmup)
    for seed in range(5):
        disturb(model, seed)
        ema.update()
    file = io.BytesIO()
    torch.save(ema.state_dict(), file)
    other = model_of()
    other.load_state_dict(model.state_dict())
    resumed = Ema(other, 0.99, warmup)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(5, 9):
        for each, average in ((model, ema), (other, resumed)):
            disturb(each, seed)
            average.update()
    assert all(torch.equal(ema.averages[name], resumed.averages[name]) for name in ema.averages)


def test_another_models_state_is_refused():
    ema = Ema(model_of(), 0.9)
    with pytest.raises(ValueError, match=r"does not fit this model.*first lstm\.bias_hh_l0"):
        ema.load_state_dict({"updates": 1, "averages": {"x": torch.ones(1)}})
    with pytest.raises(ValueError, match="resume with the settings"):
        Ema(model_of(), 0).load_state_dict(ema.state_dict())
    wrong = {**ema.averages, "norm.bias": torch.ones(1)}  # would broadcast
    with pytest.raises(ValueError, match=r"1 weights differ, first norm\.bias"):
        ema.load_state_dict({"updates": 1, "averages": wrong})


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_decay_out_of_range(decay):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        Ema(model_of(), decay)
