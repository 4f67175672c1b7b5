"""The latency of a model is the time after which the last sample of a frame has come."""

import pytest
import torch

from rnnt.feature_stream import start_features, step_features
from rnnt.latency import algorithmic_latency, streaming_settings, why_not_streaming
from rnnt.settings import load_config


@pytest.mark.parametrize("lookahead", [0, 3])
@pytest.mark.parametrize("features", [{}, {"stack": 2, "n_fft": 400, "hop": 200}])
def test_the_first_encoder_frame_comes_after_the_latency(make, features, lookahead):
    lstm = {"hidden": 16, "pre_layers": 1, "post_layers": 1, "lookahead": lookahead}
    small = {"hidden": 8, "layers": 1, "embedding": 8}
    model = {"encoder": {"lstm": lstm}, "predictor": small, "joint": {"hidden": 16}}
    recognizer = make(features={"normalization": "running", **features}, model=model)
    encoder, frames = recognizer.model.encoder, recognizer.features
    samples = round(sum(algorithmic_latency(frames, encoder)) * 16000)
    for count, expected in ((samples - 1, 0), (samples, 1)):
        audio = torch.zeros(1, count, dtype=torch.int16)
        x, lengths, _ = step_features(frames, audio, torch.tensor([count]), start_features(frames, 1))
        assert encoder.step(x, lengths, encoder.start(1))[1].tolist() == [expected]


def test_with_the_settings_that_are_named_a_model_can_stream(make, tmp_path):
    encoder = {"hidden": 16, "pre_layers": 1, "post_layers": 1, "bidirectional": True}
    changes = {"trim_silence": True, "peak_floor": 30.0, "normalization": "loud"}
    recognizer = make(features=changes, model={"encoder": encoder})
    parts = recognizer.features, recognizer.model.encoder
    assert all(name in why_not_streaming(*parts) for name in ("encoder", "trim_silence", "peak_floor", "loud"))
    found = streaming_settings(*parts)
    assert len(found) == 4
    config = load_config("small", found)
    assert not config.model.encoder.lstm.bidirectional and config.features.normalization == "running"
    streaming = make(features={"normalization": "global"})
    assert not why_not_streaming(streaming.features, streaming.model.encoder)
    assert streaming_settings(streaming.features, streaming.model.encoder) == []
