"""A model that was trained to stream: it learns, and its streams miss no last word."""

import numpy as np
import pytest

from rnnt.dataset import Dataset
from rnnt.recognizer import load
from rnnt.training.trainer import Trainer


@pytest.fixture(scope="module")
def model(tones, settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("streaming") / "run"
    keys = "features.normalization=running", "train.epochs=24", "train.ctc_weight=0.5", "train.validate_every=6"
    assert Trainer(settings(*keys, "train.fastemit=0.01"), tones, out).run() <= 0.2
    return load(out)


def test_the_last_word_is_there_without_silence_after_it(model, tones):
    utterances = [*Dataset(tones / "train"), *Dataset(tones / "valid"), *Dataset(tones / "more")]
    found = []
    for utterance in utterances:
        samples = utterance.input[:-400]  # there are 50 ms of silence after each word
        stream = model.stream(8000)
        for chunk in np.array_split(samples, 7):
            stream.accept(chunk)
        transcript, (offline,) = stream.finish(), model.transcribe([samples])
        assert (transcript.tokens, transcript.frames) == (offline.tokens, offline.frames)
        words = utterance.text.split()
        found.append(transcript.text.split()[-1:] == words[-1:])
    assert np.mean(found) >= 0.95


def test_words_are_emitted_soon(model, tones):
    """Each word of the whole is in the partial text a quarter of a second after its end at the latest, mostly."""
    soon = []
    for utterance in Dataset(tones / "more"):
        stream, seen = model.stream(8000), []
        for chunk in np.array_split(utterance.input, len(utterance.input) // 240):
            stream.accept(chunk)
            seen.append((stream._num_samples / 8000, len(stream.partial.tokens)))
        final = stream.finish()
        for number, word in enumerate(final.words, 1):
            first = next((time for time, count in seen if count >= number), final.seconds)
            soon.append(first <= word.end + 0.25)
    assert np.mean(soon) >= 0.9
