"""The modules with NeMo's inputs and outputs; test_sherpa.py and test_onnx_asr.py run them there."""

import torch

from rnnt.export.graph import DecoderJoint
from rnnt.export.nemo_graphs import FeatureEncoder, NemoDecoderJoint, decoder_example


def test_logits_are_those_of_the_plain_graph(make):
    model = make()
    frames = torch.randn(1, 5, model.model.encoder.width)
    targets, length, hidden, cell = decoder_example(model)
    with torch.inference_mode():
        logits, _, *after = NemoDecoderJoint(model)(frames.transpose(1, 2), targets, length, hidden, cell)
        states = hidden.transpose(0, 1), cell.transpose(0, 1)
        expected, *wanted = DecoderJoint(model.model)(frames, targets[:, 0].long(), *states)
    torch.testing.assert_close(logits[:, :, 0], expected)
    for one, other in zip(after, wanted):
        torch.testing.assert_close(one.transpose(0, 1), other)


def test_the_encoder_does_not_depend_on_padding(make):
    module = FeatureEncoder(make(), normalized=False)
    mel = torch.randn(2, 20, 50)
    with torch.inference_mode():
        both, lengths = module(mel, torch.tensor([50, 31]))
        alone, _ = module(mel[1:, :, :31], torch.tensor([31]))
    torch.testing.assert_close(both[1:, :, : lengths[1]], alone)
