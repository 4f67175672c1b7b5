"""Global statistics of the features, against all frames of the training data in float64."""

import pytest
import torch

from rnnt.dataset import Dataset
from rnnt.features import Features
from rnnt.training import statistics
from rnnt.training.trainer import Trainer


def measured(features, data, indices):
    frames = []
    for i in indices:
        audio = torch.from_numpy(data[i].input.copy())[None]
        mel, lengths = features.log_mel(audio, torch.tensor([audio.shape[1]]))
        frames.append(mel[0, : lengths[0]].double())
    frames = torch.cat(frames)
    return frames.mean(0), frames.std(0, unbiased=False)


@pytest.mark.parametrize("normalization", ["global", "running"])
def test_stored_statistics_are_those_of_the_training_data(normalization, tones, settings, tmp_path):
    config = settings(f"features.normalization={normalization}", "data.valid=[]", "data.max_seconds=0.7")
    trainer = Trainer(config, tones, tmp_path / "run")
    data, features = Dataset(tones / "train"), trainer.recognizer.features
    usable = trainer.data.usable.tolist()
    assert 3 < len(usable) < 26
    mean, std = measured(Features(config.features), data, usable)
    torch.testing.assert_close(features.mean.double(), mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.std.double(), std, rtol=1e-3, atol=1e-4)


def test_of_much_data_a_sample_is_measured_that_depends_on_the_seed_alone(tones, settings, tmp_path, monkeypatch):
    trainer = Trainer(settings("data.valid=[]"), tones, tmp_path / "run")
    loader, usable, features = trainer.data.loader, trainer.data.usable, trainer.recognizer.features
    monkeypatch.setattr(statistics, "_UTTERANCES", 5)
    indices, read = [], loader.read
    monkeypatch.setattr(loader, "read", lambda batch, *more: indices.extend(map(int, batch)) or read(batch, *more))
    mean, std = statistics.measure(features, loader, usable, 3)
    assert len(set(indices)) == 5
    expected = measured(features, loader.dataset, indices)
    torch.testing.assert_close(mean, expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(std, expected[1], rtol=1e-3, atol=1e-4)
    assert torch.equal(statistics.measure(features, loader, usable, 3)[0], mean)
    assert not torch.equal(statistics.measure(features, loader, usable, 4)[0], mean)
