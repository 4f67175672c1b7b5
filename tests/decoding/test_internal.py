"""The internal language model is the predictor and the joint with an encoder frame of zeros."""

import pytest
import torch

from rnnt.decoding.internal import InternalLm
from rnnt.model import Transducer
from rnnt.model_config import EncoderConfig, JointConfig, LstmConfig, ModelConfig, PredictorConfig

V = 6


def make_model(kind="network", durations=()):
    torch.manual_seed(0)
    config = ModelConfig(
        EncoderConfig(lstm=LstmConfig(hidden=4, pre_layers=1, post_layers=1)),
        PredictorConfig(embedding=3, hidden=5, layers=2),
        JointConfig(8, "tanh", 0.5, kind, list(durations)),
        init_scale=1.0,
    )
    model = Transducer(3, V, config).double().eval()
    with torch.no_grad():
        for layer in model.joint.children():
            layer.weight.normal_(std=1.5)
    return model


@torch.no_grad()
def plain(model, symbols):
    """Probabilities of the next symbol, without blank, if all encoder frames are zero."""
    frame = model.joint.project_encoder(torch.zeros(4, dtype=torch.float64))
    predicted = model.joint.project_predictor(model.predictor(torch.tensor([symbols], dtype=torch.long))[0, -1])
    probs = model.joint(frame, predicted)[:V].softmax(-1)
    return probs[:-1] / (1 - probs[-1])


@pytest.mark.parametrize("durations", [[], [0, 1, 2]])
@pytest.mark.parametrize("kind", ["network", "additive"])
@torch.inference_mode()
def test_equals_the_predictor_run_on_all_symbols(kind, durations):
    model = make_model(kind, durations)
    scorer = InternalLm(-0.4, model)
    assert scorer.blank_weight == -0.4
    histories = torch.randint(V - 1, (7, 5), generator=torch.Generator().manual_seed(1))
    state = scorer.start(7)
    for u in range(6):
        expected = torch.stack([-0.4 * plain(model, history[:u].tolist()).log() for history in histories])
        torch.testing.assert_close(scorer.scores(state), expected)
        if u < 5:
            state = scorer.advance(state, histories[:, u])
    assert scorer.finish(state).tolist() == [0.0] * 7


@torch.inference_mode()
def test_autocast_changes_nothing():
    model = make_model().float()
    scorer = InternalLm(1.0, model)
    symbols = torch.tensor([1, 2])
    expected = scorer.scores(scorer.advance(scorer.start(2), symbols))
    with torch.autocast("cpu", torch.bfloat16):
        state = scorer.advance(scorer.start(2), symbols)
        assert torch.equal(scorer.scores(state), expected)
        assert all(x.dtype == torch.float32 for x in state)
