"""A random model for the tests of searches: it emits often, so a search has something to find."""

import torch

from rnnt.model import Transducer
from rnnt.model_config import EncoderConfig, JointConfig, LstmConfig, ModelConfig, PredictorConfig

WIDTH = 6  # of the encoder


def make_model(
    seed,
    vocabulary=5,
    layers=1,
    blank_bias=0.0,
    kind="network",
    activation="tanh",
    width=WIDTH,
    predictor=5,
    joint=8,
    durations=(),
):
    """A model in float64 that emits the less, the higher blank_bias. layers, predictor: of the predictor, its width."""
    torch.manual_seed(seed)
    config = ModelConfig(
        EncoderConfig(lstm=LstmConfig(hidden=width, pre_layers=1, post_layers=1)),
        PredictorConfig(embedding=4, hidden=predictor, layers=layers, dropout=0.3),
        JointConfig(joint, activation, 0.5, kind, list(durations)),
        init_scale=1.0,
    )
    model = Transducer(3, vocabulary, config).double().eval()
    with torch.no_grad():
        for layer in model.joint.children():
            layer.weight.normal_(std=1.5)
        layer.bias[vocabulary - 1] += blank_bias
    return model
