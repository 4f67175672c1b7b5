"""The features as a graph; test_plain_onnx.py runs them in ONNX Runtime."""

import numpy as np
import pytest
import torch

from rnnt.export.frontend import FrontEnd, trim
from rnnt.features import Features
from rnnt.features_config import FeaturesConfig
from rnnt.features_presets import FEATURE_PRESETS
from rnnt.silence import speech_bounds


@pytest.mark.parametrize("silent", [3000, 0])
def test_silence_is_trimmed_as_by_speech_bounds(speech, silent):
    loud = [np.concatenate([np.zeros(silent, np.int16), speech(1.0, 1), np.zeros(2 * silent, np.int16)])]
    loud += [speech(2.0, 2), np.zeros(4000, np.int16), speech(0.05, 2)]  # silence alone, and less than a window
    lengths = torch.tensor([len(each) for each in loud])
    audio = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(each) for each in loud], batch_first=True) / 32768
    found, counts = trim(audio, lengths)
    for each, row, count in zip(loud, found, counts.tolist()):
        start, end = speech_bounds(each)
        assert count == end - start
        np.testing.assert_array_equal(row[:count] * 32768, each[start:end])


@pytest.mark.parametrize("preset", list(FEATURE_PRESETS))
def test_presets_of_other_programs_are_those_of_torch(preset):
    features = Features(FeaturesConfig(**FEATURE_PRESETS[preset] | {"normalization": "none"}))
    lengths = torch.tensor([16000, 9999, 300])
    audio = torch.randn(3, 16000, generator=torch.Generator().manual_seed(1)) * 0.1
    (expected, counts), (found, others) = features(audio, lengths), FrontEnd(features)(audio, lengths)
    assert counts.tolist() == others.tolist()
    torch.testing.assert_close(found, expected, atol=3e-4, rtol=0)
