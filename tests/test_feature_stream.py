"""The features of streams equal those of the whole, whatever the chunks, the batch and the places of the others."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt.feature_stream import finish_features, start_features, step_features
from rnnt.features import Features
from rnnt.features_config import FeaturesConfig

SHAPES = [{}, {"n_fft": 401, "hop": 133, "mels": 40, "stack": 4}, {"n_fft": 320, "hop": 480, "stack": 1}]


def make(normalization, **changes):
    features = Features(FeaturesConfig(normalization=normalization, **changes))
    if features.config.fitted:
        features.mean.copy_(torch.linspace(-9, -3, features.config.mels))
        features.std.copy_(torch.linspace(1, 3, features.config.mels))
    return features


def noise(length, seed=0):
    samples = np.random.default_rng(seed).standard_normal(length) * 3000
    return torch.from_numpy(samples.clip(-32768, 32767).astype(np.int16))


def run(features, streams, plan):
    """The frames of each of the streams (N,), of which each step of the plan takes so many samples of each."""
    state, frames = start_features(features, len(streams)), [[] for _ in streams]
    places = [0] * len(streams)
    for sizes in plan:
        chunks = [stream[place : place + size] for stream, place, size in zip(streams, places, sizes)]
        places = [place + size for place, size in zip(places, sizes)]
        audio = torch.nn.utils.rnn.pad_sequence(chunks, batch_first=True, padding_value=777)
        x_BTF, lengths, state = step_features(features, audio, torch.tensor([len(x) for x in chunks]), state)
        for found, x, length in zip(frames, x_BTF, lengths):
            found.append(x[:length])
    x_BTF, lengths = finish_features(features, state)
    return [torch.cat([*found, x[:length]]) for found, x, length in zip(frames, x_BTF, lengths)]


def check(features, stream, found):
    expected, lengths = features(stream[None], torch.tensor([len(stream)]))
    assert len(found) == lengths
    torch.testing.assert_close(found, expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalization", ["none", "global", "running"])
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=12)
@given(length=st.integers(1, 9000), cuts=st.lists(st.integers(0, 9000), max_size=40))
def test_random_chunks_give_the_frames_of_the_whole(normalization, shape, length, cuts):
    features, samples = make(normalization, **shape), noise(length, length)
    ends = sorted(min(cut, length) for cut in cuts)  # equal ends give empty chunks
    sizes = [end - start for start, end in pairwise([0, *ends, length])]
    check(features, samples, run(features, [samples], [[size] for size in sizes])[0])


@pytest.mark.parametrize("normalization", ["none", "running"])
@pytest.mark.parametrize("length", [1, 2, 100, 160, 255, 256, 257, 258, 481, 1500])
def test_single_samples_give_the_frames_of_the_whole(normalization, length):
    features, samples = make(normalization), noise(length)
    check(features, samples, run(features, [samples], [[1]] * length)[0])


def test_float_samples_are_like_int16():
    features, samples = make("running"), noise(3000)
    whole, parts = run(features, [samples], [[3000]])[0], run(features, [samples / 32768], [[1000]] * 3)[0]
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalization", ["global", "running"])
def test_streams_of_a_batch_are_at_different_places(normalization):
    features, rng = make(normalization), np.random.default_rng(0)
    streams = [noise(length, length) for length in (4000, 1, 2500, 300, 3999)]
    plan, left = [], np.array([len(stream) for stream in streams])
    while left.any():
        sizes = np.minimum(rng.integers(0, 700, len(left)) * rng.integers(0, 2, len(left)), left)
        plan.append(sizes.tolist())
        left -= sizes
    for stream, found in zip(streams, run(features, streams, plan)):
        check(features, stream, found)


def test_a_frame_comes_as_soon_as_half_a_window_after_its_middle_is_there():
    features = make("none", stack=1)
    state = start_features(features, 1)
    _, lengths, state = step_features(features, noise(256)[None], torch.tensor([256]), state)
    assert lengths.tolist() == [0]
    _, lengths, state = step_features(features, noise(1)[None], torch.tensor([1]), state)
    assert lengths.tolist() == [1]
    _, lengths, state = step_features(features, noise(159)[None], torch.tensor([159]), state)
    assert lengths.tolist() == [1]  # the next one's middle is at 160, and 160 + 256 samples are 416


def test_the_old_state_is_not_changed_and_streams_without_samples_have_no_frames():
    features = make("running")
    state = start_features(features, 2)
    copy = [x.clone() for x in (*state[:3], *state.sums, state.unstacked)]
    step_features(features, torch.stack([noise(900), noise(900, 1)]), torch.tensor([900, 0]), state)
    assert all(torch.equal(a, b) for a, b in zip(copy, (*state[:3], *state.sums, state.unstacked)))
    assert finish_features(features, state)[1].tolist() == [0, 0]


def test_features_that_need_whole_utterances_are_refused():
    with pytest.raises(ValueError, match="normalization=utterance needs"):
        start_features(Features(FeaturesConfig()), 1)
