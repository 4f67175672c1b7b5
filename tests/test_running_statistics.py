"""The normalization `running` against statistics of each prefix by numpy, and its independence of chunks."""

import numpy as np
import pytest
import torch

from rnnt.features import Features
from rnnt.features_config import FeaturesConfig
from rnnt.frames import valid_places
from rnnt.running_statistics import normalize_running, start_sums

MEAN, STD = torch.tensor([-8.0, 0.0, 3.0]), torch.tensor([2.0, 1.0, 0.5])


def frames(batch, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, size, 3, generator=generator) * torch.tensor([4.0, 0.1, 1.0]) + torch.tensor([-9.0, 1, 0])


@pytest.mark.parametrize("prior", [0.5, 40.0])
def test_each_frame_has_the_statistics_of_the_prior_and_of_the_frames_so_far(prior):
    x = frames(1, 30)
    found, _ = normalize_running(x, torch.tensor([30]), start_sums(1, MEAN), MEAN, STD, prior)
    mean, std = MEAN.double().numpy(), STD.double().numpy()
    for t in range(30):
        past = x[0, : t + 1].double().numpy()
        weight = prior + t + 1
        average = (prior * mean + past.sum(0)) / weight
        variance = (prior * (std**2 + mean**2) + (past**2).sum(0)) / weight - average**2
        np.testing.assert_allclose(found[0, t], (past[-1] - average) / (np.sqrt(variance) + 1e-5), rtol=1e-4, atol=1e-5)


def test_chunks_batch_and_padding_change_no_bit():
    x, lengths = frames(3, 50), torch.tensor([50, 17, 1])
    padded = x.masked_fill(~valid_places(lengths, 50)[:, :, None], torch.nan)
    whole, after = normalize_running(padded, lengths, start_sums(3, MEAN), MEAN, STD, 7.0)
    for b, length in enumerate(lengths.tolist()):
        sums, found = start_sums(1, MEAN), []
        for chunk in x[b : b + 1, :length].split(4, 1):
            y, sums = normalize_running(chunk, torch.tensor([chunk.shape[1]]), sums, MEAN, STD, 7.0)
            found.append(y[0])
        assert torch.equal(torch.cat(found), whole[b, :length])
        assert all(torch.equal(one[0], all_[b]) for one, all_ in zip(sums, after))


def test_a_long_stream_forgets_the_prior():
    x = frames(1, 20000)
    found, _ = normalize_running(x, torch.tensor([20000]), start_sums(1, MEAN), MEAN, STD, 10.0)
    last = found[0, -5000:]
    assert last.mean(0).abs().max() < 0.1 and (last.std(0) - 1).abs().max() < 0.1


def test_the_features_of_a_prefix_are_the_prefix_of_the_features():
    features = Features(FeaturesConfig(normalization="running", stack=1))
    audio = torch.from_numpy(np.random.default_rng(0).standard_normal(16000).astype(np.float32) / 10)[None]
    whole, _ = features(audio, torch.tensor([16000]))
    part, _ = features(audio[:, :8000], torch.tensor([8000]))
    torch.testing.assert_close(part[0, :47], whole[0, :47], rtol=1e-6, atol=1e-6)  # later ones see the end
    assert {"mean", "std"} <= set(features.state_dict())
