"""Words of a stream: those of finals are as for files, also with known sounds; those of partials are near them."""

import numpy as np
import pytest
import torch

from rnnt.calibration import Calibration
from rnnt.decoding.endpoint import EndpointRules
from rnnt.live_segment import Heard
from rnnt.sounds import STATES, Sounds, described_width


@pytest.fixture(scope="module")
def model(make):
    recognizer = make(blank=-2.0, features={"normalization": "none"})
    rng = np.random.default_rng(0)
    count = 1 + STATES * 4
    sounds = Sounds(
        "abc",
        rng.standard_normal((count, described_width(20))).astype(np.float32) / 10,
        rng.standard_normal(count).astype(np.float32),
        np.full(count, 0.9, np.float32),
    )
    recognizer.calibration = Calibration(1.7, 0.05, -0.1, sounds)
    return recognizer


def test_sounds_find_words_of_streams_as_of_files(model, utterances, same):
    for samples in utterances:
        stream = model.stream(rules=None)
        for chunk in np.array_split(samples, 9):
            stream.accept(chunk)
        same(stream.finish(), model.transcribe([samples])[0])


def test_words_of_later_utterances_lie_in_them(model, speech):
    samples = np.concatenate([speech(2, 1), np.zeros(16000, np.int16), speech(3, 2)])
    stream = model.stream(rules=EndpointRules(0.5, 0.3, 1.0))
    for chunk in np.array_split(samples, 50):
        stream.accept(chunk)
    stream.finish()
    finals = stream.finals()
    assert len(finals) > 2
    for final in finals:
        (segment,) = final.segments
        assert all(segment.start <= word.start <= word.end <= segment.end + 0.06 for word in final.words)


def test_partial_times_follow_emissions(model, utterances):
    model.calibration, known = Calibration(start=0.1, end=-0.1), model.calibration
    try:
        stream = model.stream(rules=None)
        stream.accept(utterances[2])
        partial = stream.partial
    finally:
        model.calibration = known
    assert len(partial.words) == len(partial.tokens) > 3
    middle = [time + model.frame_seconds / 2 for time in partial.times]
    inside = [word.start - 0.2 <= time <= word.end + 0.2 for word, time in zip(partial.words, middle)]
    assert all(inside)
    probabilities = np.exp(partial.log_probs)
    np.testing.assert_allclose([word.confidence for word in partial.words], probabilities, atol=2e-5)


def test_what_is_heard_is_cut_at_an_encoder_frame():
    heard = Heard(None, 5, [torch.arange(4.0)[:, None]], [torch.arange(8.0)[:, None]], [np.arange(40), np.arange(7)])
    heard.cut(3, 2, 10)
    assert heard.start == 8
    assert torch.cat(heard.encoder).flatten().tolist() == [3]
    assert torch.cat(heard.features).flatten().tolist() == [6, 7]
    assert np.concatenate(heard.samples).tolist() == [*range(30, 40), *range(7)]
    heard.cut(2, 2, 10)
    assert heard.encoder == heard.features == heard.samples == []
