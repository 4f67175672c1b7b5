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
from rnnt.transcript import Transcript

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
