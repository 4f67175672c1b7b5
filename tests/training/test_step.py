"""One step against plain torch."""

import copy
import math

import numpy as np
import pytest
import torch

from rnnt import transducer_loss
from rnnt.features import Features
from rnnt.loader import collate
from rnnt.model import Transducer
from rnnt.settings import from_tree
from rnnt.training.distributed import Processes
from rnnt.training.share import Share
from rnnt.training.step import Stepper
from rnnt.training.stop import Stop

SETTINGS = {
    "features": {"sample_rate": 8000, "n_fft": 256, "window": 200, "hop": 80, "mels": 16, "high_hz": 4000},
    "model": {
        "encoder": {"lstm": {"hidden": 12, "pre_layers": 1, "post_layers": 1, "dropout": 0.0}},
        "predictor": {"embedding": 6, "hidden": 10, "layers": 1, "dropout": 0.0},
        "joint": {"hidden": 8, "dropout": 0.0},
    },
}
SYMBOLS = 5


def stepper_of(**train):
    torch.manual_seed(0)
    config = from_tree({**SETTINGS, "train": train}, "test")
    features = Features(config.features)
    return Stepper(features, Transducer(features.width, SYMBOLS + 1, config.model), config, Processes("cpu"))


def batch_of(count):
    rng = np.random.default_rng(count)
    audio = [rng.integers(-9000, 9000, rng.integers(1000, 4000)).astype(np.int16) for _ in range(count)]
    tokens = [rng.integers(0, SYMBOLS, rng.integers(0, 4)).tolist() for _ in range(count)]
    return collate(audio, tokens, [f"u{i}" for i in range(count)])


def take(stepper, batch):
    return stepper.take([(Share(0, np.arange(len(batch)), 1.0), batch)], len(batch), 0, 0.0, Stop(announce=False))


def expected(stepper, batch, fastemit):
    """Mean loss and gradients by the definition of the transducer loss, with the logits of the whole lattice stored."""
    model = copy.deepcopy(stepper.model)
    encoder, lengths = model.encoder(*Features(stepper.config.features)(batch.inputs, batch.input_lengths))
    joint = model.joint
    loss = transducer_loss(
        joint.encoder(encoder), joint.predictor(model.predictor(batch.targets)), joint.output.weight, joint.output.bias,
        batch.targets, lengths, batch.target_lengths, fastemit=fastemit, implementation="reference",
    )  # fmt: skip
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("fastemit", [0.0, 0.5])
def test_fastemit_changes_the_gradient_and_not_the_loss(fastemit):
    stepper, batch = stepper_of(fastemit=fastemit), batch_of(4)
    loss, gradients = expected(stepper, batch, fastemit)
    plain = expected(stepper, batch, 0.0)[1]
    outcome = take(stepper, batch)
    assert outcome.loss == pytest.approx(loss, rel=1e-5) and outcome.problem == ""
    for name, parameter in stepper.model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-5, msg=name)
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values()))
    assert outcome.grad_norm == pytest.approx(norm, rel=1e-4)
    changed = (plain["joint.output.bias"] - gradients["joint.output.bias"]).abs().max()
    assert (changed > 0.01) == bool(fastemit)
