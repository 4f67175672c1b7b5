"""The format `sherpa`, in sherpa-onnx itself."""

import numpy as np
import pytest
import sherpa_onnx
import torch

from rnnt.export.exporting import export_model
from rnnt.export.runtime import greedy_symbols
from rnnt.export.sherpa import SHERPA
from rnnt.features_presets import FEATURE_PRESETS

DECODING = {"max_symbols_per_frame": 10}


def sherpa_model(make, preset, bias=1.0, **features):
    settings = FEATURE_PRESETS[preset] | {"mels": 20} | features
    recognizer = make(features=settings, decoding=DECODING)
    with torch.no_grad():
        recognizer.model.joint.output.bias[-1] += bias
        if recognizer.features.config.fitted:
            recognizer.features.mean.fill_(-8.0)
            recognizer.features.std.fill_(3.0)
    return recognizer


def files(folder, end=".onnx"):
    names = {name: str(folder / f"{name}{end}") for name in ("encoder", "decoder", "joiner")}
    return names | {"tokens": str(folder / "tokens.txt")}


@pytest.mark.parametrize("normalization", ["utterance", "loud", "running"])
def test_offline_finds_the_tokens_of_torch(make, utterances, tmp_path, normalization):
    recognizer = sherpa_model(make, "sherpa-offline", normalization=normalization)
    export_model(recognizer, "sherpa", tmp_path / "out")
    offline = sherpa_onnx.OfflineRecognizer.from_transducer(
        **files(tmp_path / "out"), model_type="nemo_transducer", feature_dim=20
    )
    engine = SHERPA.engines(recognizer, SHERPA.graphs(recognizer))["sherpa"]()
    total = 0
    for audio in utterances:
        (expected,) = recognizer.transcribe([audio])
        stream = offline.create_stream()
        stream.accept_waveform(16000, audio.astype(np.float32) / 32768)
        offline.decode_stream(stream)
        assert stream.result.text.split() == expected.text.split()
        assert greedy_symbols(engine, engine.encode(audio / 32768), 10, 300) == expected.tokens
        total += len(expected.tokens)
    assert total > 10


def test_online_finds_the_tokens_of_torch(make, speech, tmp_path):
    recognizer = sherpa_model(make, "sherpa-online", bias=-1.0)
    export_model(recognizer, "sherpa", tmp_path / "out")
    online = sherpa_onnx.OnlineRecognizer.from_transducer(**files(tmp_path / "out"), feature_dim=20)
    total = 0
    for seed in range(4):
        # Whole chunks of 240 ms, the last of which sherpa-onnx does not decode.
        audio = speech(1.44, seed)
        silence = np.zeros(8000, np.int16)
        stream = online.create_stream()
        for start in range(0, len(audio), 1000):
            stream.accept_waveform(16000, audio[start : start + 1000].astype(np.float32) / 32768)
            while online.is_ready(stream):
                online.decode_stream(stream)
        stream.accept_waveform(16000, silence.astype(np.float32))
        stream.input_finished()
        while online.is_ready(stream):
            online.decode_stream(stream)
        (expected,) = recognizer.transcribe([np.concatenate([audio, silence])])
        found = online.tokens(stream)
        assert [["a", "b", "c"].index(x.strip()) for x in found] == expected.tokens[: len(found)]
        assert all(frame >= 24 for frame in expected.frames[len(found) :])
        total += len(found)
    assert total > 10


def test_other_features_are_refused(make, spell):
    with pytest.raises(
        ValueError, match=r"sherpa-onnx computes other .*features=sherpa-offline \(here .*padding=kaldi"
    ):
        SHERPA.graphs(make())
    with pytest.raises(ValueError, match="sherpa-onnx runs models of audio"):
        SHERPA.graphs(spell())


def test_readme_names_the_files(make, tmp_path):
    recognizer = sherpa_model(make, "sherpa-offline")
    SHERPA.write(recognizer, SHERPA.graphs(recognizer), tmp_path, "int8")
    text = (tmp_path / "README.md").read_text()
    for name in ("encoder.int8.onnx", "decoder.int8.onnx", "joiner.int8.onnx", "tokens.txt"):
        assert name in text and (tmp_path / name).is_file()
