"""Features of other programs, value by value."""

from importlib.resources import files

import kaldi_native_fbank as knf
import numpy as np
import onnx_asr
import onnxruntime
import pytest
import torch

from rnnt.features import Features
from rnnt.features_config import FeaturesConfig
from rnnt.features_presets import FEATURE_PRESETS, preset_differences
from rnnt.settings import load_config


def sound(samples):
    rng = np.random.default_rng(samples)
    audio = (rng.standard_normal(samples) * 0.1).astype(np.float32)
    audio[samples // 3 : samples // 2] = 0  # digital silence: only the guard of the logarithm is left
    return audio


@pytest.mark.parametrize("samples", [500, 15999, 16000, 16081, 24079])
@pytest.mark.parametrize(
    ("preset", "window", "high"), [("sherpa-offline", "povey", -400), ("sherpa-online", "hanning", 0)]
)
def test_sherpa_as_kaldi_native_fbank(preset, window, high, samples):
    """The options are those that sherpa-onnx sets for NeMo's transducers."""
    options = knf.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.dither, frame.snip_edges, frame.samp_freq, frame.window_type = 0, False, 16000, window
    frame.remove_dc_offset, frame.preemph_coeff = False, 0.97
    mel.num_bins, mel.low_freq, mel.high_freq, mel.is_librosa = 80, 0, high, True
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(16000, sound(samples).tolist())
    bank.input_finished()
    expected = np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])
    features = Features(FeaturesConfig(**FEATURE_PRESETS[preset]))
    found, lengths = features.values(torch.from_numpy(sound(samples))[None], torch.tensor([samples]))
    assert lengths.tolist() == [len(expected)]
    np.testing.assert_allclose(found[0].numpy(), expected, atol=3e-4)


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("samples", [500, 15999, 16000, 24079])
def test_nemo_as_onnx_asr(samples, mels):
    graph = files(onnx_asr).joinpath("preprocessors", "data", f"nemo{mels}.onnx").read_bytes()
    session = onnxruntime.InferenceSession(graph)
    inputs = [x.name for x in session.get_inputs()]
    expected, counts = session.run(None, dict(zip(inputs, (sound(samples)[None], np.array([samples])))))
    features = Features(FeaturesConfig(**FEATURE_PRESETS["nemo"] | {"mels": mels, "stack": 1}))
    found, lengths = features(torch.from_numpy(sound(samples))[None], torch.tensor([samples]))
    assert lengths.tolist() == counts.tolist()
    np.testing.assert_allclose(found[0].numpy(), expected[0, :, : counts[0]].T, atol=2e-3)


def test_features_are_chosen_by_name(tmp_path):
    config = load_config("small", ["features=nemo", "features.mels=128"])
    assert preset_differences(config.features, "nemo") == {"features.mels": 80}
    (tmp_path / "mine.yaml").write_text("features: sherpa-offline\n")
    assert not preset_differences(load_config(tmp_path / "mine.yaml").features, "sherpa-offline")
    with pytest.raises(ValueError, match="no features 'kaldi'; there are nemo, sherpa-offline, sherpa-online"):
        load_config("small", ["features=kaldi"])
