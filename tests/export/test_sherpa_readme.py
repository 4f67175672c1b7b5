"""The README.md of a folder for sherpa-onnx."""

from rnnt.export.sherpa_readme import readme


def test_commands_are_those_of_the_recognizer():
    offline, online = readme(False, ".int8.onnx", 80), readme(True, ".onnx", 40)
    assert "sherpa-onnx-offline --model-type=nemo_transducer" in offline and "encoder.int8.onnx" in offline
    assert "feature_dim=80" in offline and "OnlineRecognizer" not in offline
    assert "sherpa_onnx.OnlineRecognizer" in online and "feature_dim=40" in online and "{" not in online
