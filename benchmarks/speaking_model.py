"""Models with random weights that emit symbols nearly as often as speech has them, to measure speed with."""

from collections.abc import Sequence

import numpy as np
import torch
from training_case import symbols

from rnnt.loader import collate
from rnnt.model.predictor import Predictor
from rnnt.recognizer import Recognizer
from rnnt.settings import load_config

RATE = 3.8  # symbols a second: LibriSpeech in 1023 word pieces
_FORBIDS = 2e4  # keeps a unit of the joint from being positive


def remember_kind(predictor: Predictor, kinds: torch.Tensor) -> None:
    """Let unit 0 of a predictor tell of which kind the last symbol was. kinds: (V,), a number for each symbol."""
    lstm = predictor.lstm
    predictor.embedding.weight[:, 0] = kinds
    for layer in range(lstm.num_layers):  # unit 0 forgets, and is open to unit 0 of the layer below alone
        for kind in ("ih", "hh"):
            getattr(lstm, f"weight_{kind}_l{layer}")[:: lstm.hidden_size] = 0.0
            gates = torch.tensor([10.0, -10.0, 0.0, 10.0], device=kinds.device)  # input, forget, cell, output
            getattr(lstm, f"bias_{kind}_l{layer}")[:: lstm.hidden_size] = gates
        getattr(lstm, f"weight_ih_l{layer}")[2 * lstm.hidden_size, 0] = 5.0


def random_recognizer(preset: str, inputs: Sequence[np.ndarray], changes: Sequence[str] = ()) -> Recognizer:
    """Return an untrained model of a preset that emits symbols of these utterances as `speak` says."""
    config = load_config(preset, ["device=cpu", *changes])
    torch.manual_seed(0)
    recognizer = Recognizer(config, symbols(config)).eval()
    with torch.no_grad():
        for name, parameter in recognizer.model.named_parameters():
            if "weight" in name:
                parameter.mul_(4)  # else all frames would be alike
        speak(recognizer, inputs)
    return recognizer


def speak(recognizer: Recognizer, inputs: Sequence[np.ndarray]) -> None:
    """Let a model emit an even symbol when a unit of its encoder becomes positive, an odd one when it becomes negative.

    It is the unit whose changes of sign come nearest to RATE a second of these utterances. Unit 0 of the predictor
    tells whether the last symbol was even, and two units of the joint decide. The work is that of any other weights.
    """
    model, seconds = recognizer.model, sum(map(len, inputs)) / recognizer.config.features.sample_rate
    frames = []
    for samples in inputs:
        with recognizer.inference():
            encoder_BTD, _ = recognizer.encode(collate([samples], [[]], [""]))
        frames.append(encoder_BTD[0].clone())
    changes = sum(((x[1:] > 0) != (x[:-1] > 0)).sum(0) for x in frames) / seconds
    unit = int((changes - RATE).abs().argmin())
    joint, even = model.joint, torch.arange(model.blank) % 2 == 0
    remember_kind(model.predictor, even.float())
    _, state = model.predictor.start(1)
    after_even = float(model.predictor.step(torch.tensor([0]), state)[0][0, 0])
    for layer in (joint.encoder, joint.predictor):
        layer.weight[:2] = 0.0
        layer.bias[:2] = 0.0
    size = 1000 / torch.cat(frames)[:, unit].abs().mean()
    joint.encoder.weight[:2, unit] = torch.stack([size, -size])
    joint.predictor.weight[:2, 0] = torch.tensor([-_FORBIDS, _FORBIDS])
    joint.predictor.bias[1] = -_FORBIDS * after_even
    joint.output.weight.zero_()
    joint.output.weight[:-1, 0] = even * (1 + torch.rand(model.blank))
    joint.output.weight[:-1, 1] = ~even * (1 + torch.rand(model.blank))
    joint.output.bias.zero_()
    joint.output.bias[-1] = 10.0
