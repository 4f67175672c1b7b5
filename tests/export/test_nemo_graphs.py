"""The modules with NeMo's inputs and outputs; test_sherpa.py and test_onnx_asr.py run them there."""

import onnxruntime
import pytest
import torch

from rnnt.export.graph import DecoderJoint
from rnnt.export.nemo_graphs import FeatureEncoder, NemoDecoderJoint, decoder_example, trace_encoder


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


@pytest.mark.parametrize("normalization", ["utterance", "shape", "loud", "global", "running", "none"])
def test_the_encoder_takes_any_number_of_utterances(make, normalization):
    recognizer = make(features={"normalization": normalization})
    names = ("audio_signal", "length", "outputs", "encoded_lengths")
    graph = trace_encoder(recognizer, False, names, {}).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for rows in (1, 2, 3):  # the graph is traced with two
        mel, lengths = torch.randn(rows, 20, 50), torch.tensor([50, 31, 44][:rows])
        with torch.inference_mode():
            expected, _ = FeatureEncoder(recognizer, False)(mel, lengths)
        found, _ = session.run(None, {"audio_signal": mel.numpy(), "length": lengths.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-4)
