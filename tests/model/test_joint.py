"""The joint network against its formula, in both kinds."""

import numpy as np
import pytest
import torch

from rnnt.model.joint import Joint
from rnnt.model_config import JointConfig


def make(kind, activation="relu", durations=()):
    torch.manual_seed(0)
    return Joint(3, 4, 7, JointConfig(6, activation, 0.3, kind, list(durations))).double()


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


@pytest.mark.parametrize("kind", ["network", "additive"])
@torch.inference_mode()
def test_the_scores_of_nodes_are_those_of_the_logits(kind):
    joint, lengths, target_lengths = make(kind, "tanh"), torch.tensor([5, 3]), torch.tensor([1, 2])
    projected = (
        joint.project_encoder(torch.randn(2, 5, 3).double()),
        joint.project_predictor(torch.randn(2, 3, 4).double()),
    )
    targets = torch.tensor([[4, 0], [2, 5]])
    log_probs = joint(projected[0][:, :, None], projected[1][:, None]).log_softmax(-1)
    blank_BTU, label_BTU = joint.node_scores(*projected, targets, lengths, target_lengths)
    nodes = [(b, t, u) for b in range(2) for t in range(lengths[b]) for u in range(target_lengths[b] + 1)]
    numbers = torch.tensor([(b * 5 + t) * 3 + u for b, t, u in nodes])
    blank_N, label_N = joint.scores_at_nodes(*projected, targets, lengths, target_lengths, numbers)
    for (b, t, u), blank, label in zip(nodes, blank_N, label_N):
        torch.testing.assert_close(torch.stack((blank_BTU[b, t, u], blank)), log_probs[b, t, u, -1].expand(2))
        if u < target_lengths[b]:
            wanted = log_probs[b, t, u, targets[b, u]]
            torch.testing.assert_close(torch.stack((label_BTU[b, t, u], label)), wanted.expand(2))


@pytest.mark.parametrize("kind", ["network", "additive"])
def test_scores_of_durations_follow_those_of_symbols(kind):
    joint, x_TD, y_UD = make(kind, durations=[0, 1, 2]), torch.randn(5, 3).double(), torch.randn(2, 4).double()
    logits = joint(joint.project_encoder(x_TD)[:, None], joint.project_predictor(y_UD))
    assert logits.shape == (5, 2, 10) and joint.durations == (0, 1, 2)


def test_durations_have_no_lattice():
    joint = make("network", durations=[0, 1, 2])
    x_BTH, y_BUH, targets_BU = torch.zeros(1, 3, 6), torch.zeros(1, 2, 6), torch.zeros(1, 1, dtype=torch.long)
    lattices = targets_BU, torch.tensor([3]), torch.tensor([1])
    for use in (
        lambda: joint.output_parameters,
        lambda: joint.node_scores(x_BTH, y_BUH, *lattices),
        lambda: joint.scores_at_nodes(x_BTH, y_BUH, *lattices, torch.tensor([0])),
    ):
        with pytest.raises(ValueError, match="this is a token-and-duration model, which can transcribe, but not"):
            use()
