"""The format `onnx-asr`, in onnx-asr itself."""

import json

import numpy as np
import onnx_asr
import pytest

from rnnt.export.exporting import export_model
from rnnt.export.onnx_asr import ONNX_ASR
from rnnt.export.runtime import greedy_symbols
from rnnt.features_presets import FEATURE_PRESETS


def test_finds_the_tokens_of_torch(make, utterances, tmp_path):
    recognizer = make(features=FEATURE_PRESETS["nemo"])
    export_model(recognizer, "onnx-asr", tmp_path / "out")
    about = json.loads((tmp_path / "out" / "config.json").read_text())
    assert about["subsampling_factor"] == 6 and about["max_tokens_per_step"] == 3
    loaded = onnx_asr.load_model("nemo-conformer-rnnt", tmp_path / "out")
    engine = ONNX_ASR.engines(recognizer, ONNX_ASR.graphs(recognizer))["onnx-asr"]()
    total = 0
    for audio in utterances:
        (expected,) = recognizer.transcribe([audio])
        found = loaded.recognize(audio.astype(np.float32) / 32768, sample_rate=16000)
        assert found.split() == expected.text.split()
        assert greedy_symbols(engine, engine.encode(audio / 32768), 3, 300) == expected.tokens
        total += len(expected.tokens)
    assert total > 10


def test_weights_of_8_bits_have_their_name(make, tmp_path):
    recognizer = make(features=FEATURE_PRESETS["nemo"])
    ONNX_ASR.write(recognizer, ONNX_ASR.graphs(recognizer), tmp_path, "int8")
    onnx_asr.load_model("nemo-conformer-rnnt", tmp_path, quantization="int8")


@pytest.mark.parametrize(
    "features, message",
    [
        ({}, r"onnx-asr computes other features .*features=nemo \(here features.window=400 .*padding=zeros"),
        (FEATURE_PRESETS["nemo"] | {"mels": 64}, "features.mels is 64; onnx-asr computes 80 or 128 mel bins"),
        (FEATURE_PRESETS["nemo"] | {"dither": 0.1}, "features.dither is 0.1; onnx-asr adds none"),
        (FEATURE_PRESETS["nemo"] | {"normalization": "none"}, "features.normalization=utterance"),
    ],
)
def test_other_features_are_refused(make, features, message):
    with pytest.raises(ValueError, match=message):
        ONNX_ASR.graphs(make(features=features))
