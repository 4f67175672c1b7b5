"""Words and symbols of a transcript: what they form, and that their times are in order."""

import math
from dataclasses import replace

import numpy as np
import pytest

from rnnt.config import TokenizerConfig
from rnnt.decoding.alignment import Alignment
from rnnt.recognizer import Recognizer
from rnnt.settings import load_config
from rnnt.sounds import Sounds, described_width
from rnnt.tokenizer import train_tokenizer
from rnnt.word_times import Spoken, timed_words

RATE = 16000
TEXTS = ["one two three", "seven eleven twelve", "the sea the sun"]


def tokens_of(kind, text):
    tokenizer = train_tokenizer(TEXTS, TokenizerConfig(kind, 30))
    return tokenizer, tokenizer.encode(text)


def timed(tokenizer, tokens, frames, probabilities, sounds):
    """The words and symbols of an utterance of 3 s, emitted at these encoder frames."""
    config = load_config("small")
    recognizer = Recognizer(config, tokenizer)
    recognizer.calibration = replace(recognizer.calibration, sounds=sounds)
    described = np.random.default_rng(1).standard_normal((150, described_width(config.features.mels)))
    alignment = Alignment([int(frame) for frame in frames], frames, probabilities, probabilities, 0.0, 0.0)
    return timed_words(recognizer, [tokens], [alignment], [Spoken(0, 3 * RATE, described.astype(np.float32))])[0]


def random_sounds():
    weights = 0.1 * np.random.default_rng(0).standard_normal((13, described_width(load_config("small").features.mels)))
    return Sounds("ehnot", weights.astype(np.float32), np.zeros(13, np.float32), np.full(13, 0.6, np.float32))


@pytest.mark.parametrize("sounds", [None, random_sounds()], ids=["none", "sounds"])
@pytest.mark.parametrize("kind", ["characters", "words", "sentencepiece"])
@pytest.mark.parametrize("text", ["one two three", "the sea", "one", ""])
def test_words_are_those_of_the_text_and_symbols_fill_them(kind, text, sounds):
    tokenizer, tokens = tokens_of(kind, text)
    rng = np.random.default_rng(0)
    frames = np.sort(rng.uniform(0, 50, len(tokens))).tolist()
    probabilities = rng.uniform(0.5, 1, len(tokens)).tolist()
    words, symbols = timed(tokenizer, tokens, frames, probabilities, sounds)
    assert [word.word for word in words] == text.split()
    assert len(symbols) == len(tokens)
    for (first, end), word in zip(tokenizer.word_spans(tokens), words):
        assert symbols[first].start == pytest.approx(word.start) and symbols[end - 1].end == pytest.approx(word.end)
        assert word.confidence == pytest.approx(math.prod(probabilities[first:end]), abs=1e-5)
    places = [time for symbol in symbols for time in (symbol.start, symbol.end)]
    assert places == sorted(places) and all(0 <= time <= 3 for time in places)


def test_symbols_that_form_no_words():
    tokenizer, tokens = tokens_of("characters", "one two")
    space = tokens[3]
    for odd in ([space], [space, space, *tokens[:3], space, space, *tokens[:3], space]):
        words, symbols = timed(tokenizer, odd, [float(i) for i in range(len(odd))], [1.0] * len(odd), random_sounds())
        assert [word.word for word in words] == ["one"] * (len(odd) // 4)
        assert len(symbols) == len(odd)


def test_spans_of_pieces_with_and_without_a_space():
    tokenizer, _ = tokens_of("sentencepiece", "one")
    pieces = {tokenizer.symbols[token]: token for token in range(tokenizer.learned)}
    space, letter = pieces["▁"], pieces["n"]
    unused = len(tokenizer) + 5
    assert tokenizer.word_spans([letter, letter, space, letter]) == [(0, 2), (3, 4)]
    assert tokenizer.word_spans([space, letter, space]) == [(1, 2)]
    assert tokenizer.word_spans([space, letter, unused, letter]) == [(1, 4)]
    assert tokenizer.word_spans([]) == []


def test_transcripts_of_a_model_have_words_with_times(recognizer, expected):
    for transcript in expected:
        assert [word.word for word in transcript.words] == transcript.text.split()
        assert [symbol.symbol for symbol in transcript.symbols] == transcript.text.split()
        places = [time for word in transcript.words for time in (word.start, word.end)]
        assert places == sorted(places) and all(0 <= time <= transcript.seconds for time in places)
        assert all(0 < word.confidence <= 1 for word in transcript.words)
