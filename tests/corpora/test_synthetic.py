"""The synthetic corpus: splits that share no sentences and speakers, and speech that is reproducible."""

import multiprocessing
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from rnnt.corpora import Utterance, read_splits
from rnnt.corpora.grammar import sentences, vocabulary
from rnnt.corpora.synthetic import ACCENTS, MAX_UTTERANCES, VARIANTS, speak, speak_words, split_of, splits, voices


@pytest.fixture
def engine():
    pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed (pip install 'rnnt[synth]')")


@pytest.fixture(scope="module")
def corpus():
    return splits()


def texts(split) -> list[str]:
    return [utterance.text for utterance in split.utterances]


def words(split) -> Counter:
    return Counter(word for text in texts(split) for word in text.split())


def sample(corpus, count: int) -> list[Utterance]:
    utterances = [utterance for split in corpus.values() for utterance in split.utterances]
    return [utterances[i] for i in np.random.default_rng(0).permutation(len(utterances))[:count]]


def digests(utterances: list[Utterance]) -> dict[str, bytes]:
    return {utterance.id: utterance.read(16000).tobytes() for utterance in utterances}


def test_splits_share_neither_sentences_nor_speakers(corpus):
    assert list(corpus) == ["train", "valid", "test"]
    for one, other in [("train", "valid"), ("train", "test"), ("valid", "test")]:
        assert not set(texts(corpus[one])) & set(texts(corpus[other]))
        assert not set(VARIANTS[one]) & set(VARIANTS[other])
    for name, split in corpus.items():
        assert len(set(texts(split))) == len(split.utterances)
        assert {utterance.speaker for utterance in split.utterances} <= set(voices(name))
    speakers = Counter(utterance.speaker for utterance in corpus["train"].utterances)
    assert set(speakers) == set(voices("train")) and max(speakers.values()) - min(speakers.values()) <= 1
    assert len({utterance.id for split in corpus.values() for utterance in split.utterances}) == 4500


@pytest.mark.parametrize("seed", range(3))
def test_train_holds_every_word_often(seed):
    corpus = splits(seed=seed)
    train = words(corpus["train"])
    assert set(train) == vocabulary()
    assert min(train.values()) >= 20
    assert words(corpus["valid"]).keys() | words(corpus["test"]).keys() <= train.keys()


def test_split_of_a_sentence_is_the_same_for_every_seed():
    for seed in range(3):
        for name, split in splits(seed=seed, train_utterances=200).items():
            assert {split_of(text) for text in texts(split)} == {name}
    shares = Counter(split_of(text) for text in islice(sentences(9), 5000))
    assert shares["test"] / 5000 == pytest.approx(0.1, abs=0.02)
    assert shares["valid"] / 5000 == pytest.approx(0.1, abs=0.02)


def test_seed_and_size():
    one, same, other = (splits(seed=seed, train_utterances=50) for seed in (1, 1, 2))
    assert texts(one["train"]) == texts(same["train"]) != texts(other["train"])
    assert [u.id for u in one["train"].utterances] != [u.id for u in other["train"].utterances]
    longer = splits(seed=1, train_utterances=80)["train"].utterances
    assert [(u.id, u.text, u.speaker) for u in longer[:50]] == [
        (u.id, u.text, u.speaker) for u in one["train"].utterances
    ]


@pytest.mark.parametrize("size", [0, -1, MAX_UTTERANCES["test"] + 1])
def test_size_out_of_range(size):
    with pytest.raises(ValueError, match="test_utterances must be between"):
        splits(test_utterances=size)


def test_found_by_name(engine):
    found = read_splits("synthetic", Path("-"), seed=4, train_utterances=5, valid_utterances=1, test_utterances=2)
    assert [len(split.utterances) for split in found.values()] == [5, 1, 2]


def test_every_speaker_and_accent_sounds_different(engine):
    variants = [variant for split in VARIANTS.values() for variant in split]
    assert len(set(variants)) == len(variants)
    spoken = [speak("seven apples", f"en-us+{variant}").tobytes() for variant in variants]
    spoken += [speak("seven apples", f"{accent}+m1").tobytes() for accent in ACCENTS if accent != "en-us"]
    assert len(set(spoken)) == len(spoken)


def test_same_samples_in_any_order_and_process(engine, corpus):
    utterances = sample(corpus, 12)
    expected = digests(utterances)
    assert len(set(expected.values())) == 12
    assert digests(pickle.loads(pickle.dumps(utterances[::-1]))) == expected
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(digests, [utterances[::-1]]) == expected


def test_speech_is_plausible(engine, corpus):
    for utterance in sample(corpus, 60):
        samples = utterance.read(16000)
        assert samples.dtype == np.int16 and samples.ndim == 1
        seconds = len(samples) / 16000
        spoken = seconds - 0.4
        assert 0.8 < seconds < 6
        assert 1.2 < len(utterance.text.split()) / spoken < 5.5, utterance
        level = samples / 32768
        assert np.abs(level).max() < 0.97
        power = np.sqrt(np.convolve(level**2, np.full(800, 1 / 800), "valid"))
        assert power.max() > 0.02
        for end in (level[:1500], level[-1500:]):  # shorter than the shortest quiet
            assert 1e-4 < end.std() < 4e-3
        assert power.max() > 5 * level[:1500].std()


def test_sample_rate(engine):
    wide, narrow = speak("dial zero", sample_rate=16000), speak("dial zero", sample_rate=8000)
    assert len(wide) == pytest.approx(2 * len(narrow), abs=4)
    spectrum = np.abs(np.fft.rfft(speak("dial six", "en+Annie", sample_rate=22050) / 32768)) ** 2
    assert spectrum[len(spectrum) // 2 :].sum() > 1e-6  # not resampled from less


def test_seed_of_speak(engine):
    one, same, other = (speak("north station", seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert len(one) != len(other)


def test_words_have_the_times_at_which_they_can_be_heard(engine):
    """The engine's own pauses are digital silence, so only the low noise is heard in them."""
    text = "call maria, and stop"
    samples, words = speak_words(text, "en-us+f3", 165, 50, 50, 16000, seed=4)
    assert np.array_equal(samples, speak(text, seed=4))
    assert [word for word, _, _ in words] == ["call", "maria", "and", "stop"]
    levels = [
        np.sqrt(np.mean(samples[round(start * 16000) : round(end * 16000)].astype(float) ** 2))
        for _, start, end in words
    ]
    (_, first, _), (_, _, pause), (_, resumed, _), (_, _, last) = words
    for start, end in ((0, first - 0.01), (pause + 0.03, resumed - 0.03), (last + 0.01, len(samples) / 16000)):
        quiet = samples[round(start * 16000) : round(end * 16000)].astype(float)
        assert np.sqrt(np.mean(quiet**2)) < 0.2 * min(levels)
