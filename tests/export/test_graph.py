"""The modules that are exported; test_plain_onnx.py compares them with the model."""

import numpy as np
import torch

from rnnt.export.graph import DecoderJoint, StreamEncoder, why_no_stream
from rnnt.export.plain_onnx import STREAM, plain_graphs
from rnnt.export.runtime import open_session


def fitted(recognizer):
    """Give the features a mean and a deviation, as training does."""
    with torch.no_grad():
        recognizer.features.mean.fill_(-12.0)
        recognizer.features.std.fill_(3.0)
    return recognizer


def test_streams_of_different_ages_share_a_batch(make, speech):
    recognizer = fitted(make(features={"normalization": "running"}))
    graphs = plain_graphs(recognizer)
    session = open_session(graphs[STREAM].SerializeToString())
    module = StreamEncoder(recognizer)
    names = [x.name for x in session.get_inputs()]
    audio = [speech(1.0, seed)[:12000].astype(np.float32) / 32768 for seed in (1, 2)]
    step = 2 * module.step

    def run(rows, totals, states):
        return session.run(None, dict(zip(names, [np.stack(rows), np.array(totals), *states])))

    zeros = [x.numpy() for x in module.start(1).values()]
    alone = [run([each[:step]], [-1], zeros) for each in audio]
    later = run([audio[0][step : 2 * step]], [-1], alone[0][3:])
    mixed = run(
        [audio[0][step : 2 * step], audio[1][:step]], [-1, -1], [np.concatenate(x) for x in zip(alone[0][3:], zeros)]
    )
    np.testing.assert_allclose(mixed[0][0], later[0][0], atol=1e-5)
    np.testing.assert_allclose(mixed[0][1], alone[1][0][0], atol=1e-5)


def test_blank_starts_a_sequence_as_zeros_do(make):
    model = make().model
    module = DecoderJoint(model, blank_penalty=0.25)
    frames = torch.randn(2, 3, model.encoder.width)
    zeros = torch.zeros(2, 1, model.predictor.width)
    with torch.inference_mode():
        logits, hidden, _ = module(frames, torch.tensor([model.blank] * 2), zeros, zeros)
        output, (expected, _) = model.predictor.start(2)
        wanted = model.joint(model.joint.project_encoder(frames), model.joint.project_predictor(output)[:, None])
        wanted[..., -1] -= 0.25
    torch.testing.assert_close(logits, wanted)
    torch.testing.assert_close(hidden, expected)


def test_a_model_that_cannot_stream_says_why(make, spell):
    assert why_no_stream(make(features={"normalization": "none"})) == ""
    assert "features.normalization=utterance" in why_no_stream(make())
    both = {"encoder": {"hidden": 16, "bidirectional": True}}
    assert "bidirectional=true" in why_no_stream(make(features={"normalization": "none"}, model=both))
    assert "symbols" in why_no_stream(spell())
