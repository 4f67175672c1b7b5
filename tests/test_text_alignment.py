"""Known texts aligned with recordings: short and long, right and wrong, and texts that cannot be aligned."""

from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch

import rnnt
from rnnt import text_alignment
from rnnt.decoding.alignment import align
from rnnt.text_alignment import align_frames, hear
from rnnt.windows import encode_windows


@pytest.fixture(scope="module")
def long_speech(speech):
    return speech(45.0, 9)


@pytest.fixture(scope="module")
def long_text(recognizer, long_speech):
    """What greedy search finds."""
    with recognizer.inference():
        tokens, frames = hear(recognizer, encode_windows(recognizer, long_speech))
    assert len(tokens) > 50 and frames == sorted(frames)
    return recognizer.tokenizer.decode(tokens)


def test_a_right_text_has_the_times_of_its_transcript(recognizer, utterances, expected):
    several = 0
    for samples, transcript in zip(utterances, expected):
        if transcript.text:
            aligned = recognizer.align(samples, f" {transcript.text}\n".replace(" ", "\n"))
            assert aligned.text == transcript.text and aligned.tokens == transcript.tokens
            assert aligned.seconds == transcript.seconds
            for one, other in zip([*aligned.words, *aligned.symbols], [*transcript.words, *transcript.symbols]):
                values = ([x.start, x.end, x.confidence] for x in (one, other))
                np.testing.assert_allclose(*values, atol=2e-3)
            several += len(aligned.words)
    assert several > 15


def test_a_long_text_has_a_word_for_each(recognizer, long_speech, long_text):
    transcript = recognizer.align(long_speech, long_text)
    assert [word.word for word in transcript.words] == long_text.split() and transcript.seconds == 45.0
    assert transcript.frames == sorted(transcript.frames) and transcript.times == [
        pytest.approx(frame * recognizer.frame_seconds) for frame in transcript.frames
    ]
    assert all(0 <= word.start <= word.end <= 45.0 for word in transcript.words)
    assert all(a.end <= b.start + 1e-6 for a, b in pairwise(transcript.words))


def test_a_band_gives_what_the_whole_lattice_gives(recognizer, long_speech, long_text, monkeypatch):
    tokens = recognizer.tokenizer.encode(long_text)
    tokens[20:24] = [(token + 1) % 3 for token in tokens[20:24]]
    with recognizer.inference():
        encoder = encode_windows(recognizer, long_speech)
        expected = align_frames(recognizer, encoder, tokens)
        monkeypatch.setattr(text_alignment, "_WHOLE_NODES", 0)
        found = align_frames(recognizer, encoder, tokens)
    assert found.frames == expected.frames and found.path_log_prob == pytest.approx(expected.path_log_prob)


def test_without_anchors_the_path_is_the_best_of_the_lattice(recognizer, speech, monkeypatch):
    monkeypatch.setattr(text_alignment, "find_anchors", lambda *arguments: [])
    samples = speech(6.0, 3)
    tokens = recognizer.tokenizer.encode("a b c c b a a b c")
    lengths = torch.tensor([100]), torch.tensor([len(tokens)])
    with recognizer.inference():
        encoder = encode_windows(recognizer, samples)
        (expected,) = align(recognizer.model, encoder, lengths[0], torch.tensor([tokens]), lengths[1])
        found = align_frames(recognizer, encoder, tokens)
    assert found.frames == expected.frames and found.path_log_prob == pytest.approx(expected.path_log_prob, abs=1e-3)


def test_audio_may_be_anything_that_transcribe_takes(recognizer, utterances, tmp_path):
    soundfile.write(tmp_path / "one.wav", utterances[0], 16000)
    expected = recognizer.align(utterances[0], "a b")
    assert recognizer.align(tmp_path / "one.wav", "a b") == expected
    assert recognizer.align((tmp_path / "one.wav").read_bytes(), "a b") == expected
    with pytest.raises(ValueError, match="no such file"):
        recognizer.align(tmp_path / "absent.wav", "a b")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the text to align is empty"),
        (" \n\t", "the text to align is empty"),
        ("a d e", "the text cannot be aligned: unknown to the tokenizer: 'd' 'e'"),
        ("a " * 200, r"the text cannot be aligned: has 200 symbols for 1.00 s of audio, more than 100 a second"),
    ],
)
def test_texts_that_cannot_be_aligned(recognizer, utterances, text, why):
    with pytest.raises(ValueError, match=why) as caught:
        recognizer.align(utterances[4], text)
    assert "\n" not in str(caught.value)


def test_silence_at_the_ends_is_left_out_if_the_model_was_trained_so(make, speech):
    recognizer = make(features={"trim_silence": True})
    silent = np.zeros(8000, np.int16)
    samples = np.concatenate([silent, speech(2.0, 1), silent])
    for word in recognizer.align(samples, "a b c").words:
        assert 0.3 < word.start <= word.end <= 3.0


def test_a_model_that_spells_and_has_learned_little_aligns_every_word(run):
    model = rnnt.load(run)
    t = np.arange(3200) / 16000
    tones = [0.3 * np.sin(2 * np.pi * hertz * t) for hertz in (300, 900, 2700)]
    audio = np.concatenate([np.append(tone, np.zeros(1600)) for tone in tones])
    transcript = model.align(audio.astype(np.float32), "low mid high")
    assert [word.word for word in transcript.words] == ["low", "mid", "high"]
