"""The joint network against its formula, in both kinds."""

import numpy as np
import pytest
import torch

from rnnt.model.joint import Joint
from rnnt.model_config import JointConfig


def make(kind, activation="relu"):
    torch.manual_seed(0)
    return Joint(3, 4, 7, JointConfig(6, activation, 0.3, kind)).double()


def arrays(joint):
    return {name: value.detach().numpy() for name, value in joint.named_parameters()}


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_network_has_a_hidden_layer(activation):
    joint, x_TD, y_UD = make("network", activation), torch.randn(5, 3).double(), torch.randn(2, 4).double()
    w = arrays(joint)
    hidden = (x_TD.numpy() @ w["encoder.weight"].T + w["encoder.bias"])[:, None]
    hidden = hidden + y_UD.numpy() @ w["predictor.weight"].T + w["predictor.bias"]
    hidden = np.tanh(hidden) if activation == "tanh" else np.maximum(hidden, 0)
    expected = hidden @ w["output.weight"].T + w["output.bias"]
    logits = joint(joint.project_encoder(x_TD)[:, None], joint.project_predictor(y_UD))
    assert logits.shape == (5, 2, 7) and joint.width == 6
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=1e-12)


def test_an_additive_joint_is_the_sum_of_two_scores():
    joint, x_TD, y_UD = make("additive"), torch.randn(5, 3).double(), torch.randn(2, 4).double()
    w = arrays(joint)
    assert {name: value.shape for name, value in w.items()} == {
        "encoder.weight": (7, 3), "encoder.bias": (7,), "predictor.weight": (7, 4), "predictor.bias": (7,)
    }  # fmt: skip
    scores = (x_TD.numpy() @ w["encoder.weight"].T + w["encoder.bias"])[:, None]
    expected = scores + y_UD.numpy() @ w["predictor.weight"].T + w["predictor.bias"]
    logits = joint(joint.project_encoder(x_TD)[:, None], joint.project_predictor(y_UD))
    assert logits.shape == (5, 2, 7) and joint.width == 7
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=1e-12)
