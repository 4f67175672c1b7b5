"""The verb `live`."""

import io
import json
import sys

import numpy as np
import pytest
import torch

from rnnt.recognizer import load


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    recognizer = make(features={"normalization": "none"})
    with torch.no_grad():
        recognizer.model.joint.output.bias[-1] -= 2
    folder = tmp_path_factory.mktemp("live")
    recognizer.save(folder)
    return folder


@pytest.fixture()
def pipe(monkeypatch):
    """A function that makes bytes the standard input."""

    def put(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


def test_utterances_are_lines(call, folder, speech, pipe, capsys):
    samples = np.concatenate([speech(2, 1), np.zeros(40000, np.int16), speech(2, 2)])
    stream = load(folder).stream()
    stream.accept(samples)
    stream.finish()
    pipe(samples.astype("<i2").tobytes())
    assert call("live", folder) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [final.text for final in stream.finals()] and out


def test_json_has_an_event_a_line(call, folder, speech, pipe, capsys):
    samples = speech(2, 1)
    (expected,) = load(folder).transcribe([samples])
    pipe(samples.astype("<i2").tobytes())
    assert call("live", folder, "--json", "--chunk-ms", "100") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds == ["partial"] * (len(events) - 1) + ["final"] and len(events) > 3
    assert (events[-1]["text"], events[-1]["start"], events[-1]["end"]) == (expected.text, 0.0, 2.0)
    assert [word["word"] for word in events[-1]["words"]] == [word.word for word in expected.words]


def test_half_a_sample_is_an_error_in_one_line(call, folder, pipe, capsys):
    pipe(b"\0" * 999)
    assert call("live", folder) == 2
    assert capsys.readouterr().err.startswith("error: standard input ends with half a sample; give 16-bit")


def test_models_that_cannot_stream_are_refused(call, run, pipe, capsys):
    pipe(b"")
    assert call("live", run) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: this model cannot stream, because ") and "train one with " in shown
