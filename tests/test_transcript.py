"""A transcript is a plain value: it needs no torch, cannot be changed, and goes through JSON and pickle unchanged."""

import dataclasses
import json
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rnnt
from rnnt import transcript as module
from rnnt.transcript import Segment, Symbol, Transcript, Word, join_segments

GOLDEN = Path(__file__).parent / "golden"
TRANSCRIPT = Transcript("ä b", [7, 8], [3, 5], [0.18, 0.3], [-0.1, -0.02], seconds=0.9)


def test_the_file_needs_no_torch():
    """Results can then be handled on machines that have no torch."""
    program = "import runpy, sys; runpy.run_path(sys.argv[1]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program, module.__file__], check=False).returncode == 0
    alone = runpy.run_path(module.__file__)["Transcript"]
    assert [field.name for field in dataclasses.fields(alone)] == list(dataclasses.asdict(TRANSCRIPT))


def test_a_transcript_cannot_be_changed():
    assert not TRANSCRIPT.truncated
    with pytest.raises(dataclasses.FrozenInstanceError):
        TRANSCRIPT.text = ""


def test_transcripts_of_a_model_are_consistent_and_go_through_json_and_pickle():
    model = rnnt.load(GOLDEN / "model")
    noise = np.random.default_rng(0).standard_normal(32000)
    inputs = [(8000 * noise[:length]).astype(np.int16) for length in (32000, 500, 9000)]
    transcripts = model.transcribe(inputs)
    assert any(transcript.tokens for transcript in transcripts)
    for samples, transcript in zip(inputs, transcripts):
        assert transcript.seconds == len(samples) / model.config.features.sample_rate
        assert transcript.text == model.tokenizer.decode(transcript.tokens)
        count = len(transcript.tokens)
        assert len(transcript.frames) == len(transcript.times) == len(transcript.log_probs) == count
        assert transcript.frames == sorted(transcript.frames) and transcript.times == sorted(transcript.times)
        assert all(0 <= time < transcript.seconds for time in transcript.times)
        assert all(log_prob <= 0 for log_prob in transcript.log_probs)
        assert Transcript(**json.loads(json.dumps(dataclasses.asdict(transcript)))) == transcript
        assert pickle.loads(pickle.dumps(transcript)) == transcript


def test_segments_are_joined_with_their_places_and_what_is_between_is_left_out():
    first = Transcript("a b", [0, 1], [1, 4], [0.06, 0.24], [-1.0, -2.0], 2.0, words=[Word("a", 0.1, 0.2, 0.9)])
    empty = Transcript("", [], [], [], [], 3.0)
    last = Transcript("c", [2], [0], [0.0], [-3.0], 1.0, truncated=True, symbols=[Symbol("c", 0.0, 0.5, 0.8)])
    joined = join_segments([(0.6, 2.6, 10, first), (4.2, 7.2, 70, empty), (9.0, 10.0, 150, last)], 10.5, "is damaged")
    assert (joined.text, joined.tokens, joined.frames) == ("a b c", [0, 1, 2], [11, 14, 150])
    assert joined.times == [0.66, 0.84, 9.0] and joined.log_probs == [-1.0, -2.0, -3.0]
    assert joined.segments == [Segment(0.6, 2.6, "a b"), Segment(9.0, 10.0, "c", True)]
    assert joined.left_out == [[0.0, 0.6], [2.6, 9.0], [10.0, 10.5]]
    assert joined.words == [Word("a", 0.7, 0.8, 0.9)] and joined.symbols == [Symbol("c", 9.0, 9.5, 0.8)]
    assert joined.truncated and joined.error == "is damaged" and joined.seconds == 10.5
    assert Transcript(**json.loads(json.dumps(dataclasses.asdict(joined)))) == joined
    nothing = join_segments([(0.0, 3.0, 0, empty)], 3.0)
    assert nothing.segments == [] and nothing.left_out == [[0.0, 3.0]]
