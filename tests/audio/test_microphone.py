"""The microphone: all samples in order, an end between two chunks, errors that say how to mend them."""

import builtins
import sys

import numpy as np
import pytest
from made_up_microphone import Microphone

from rnnt.audio.microphone import microphone_chunks


def hear(microphone, monkeypatch, stopped, size=100):
    monkeypatch.setitem(sys.modules, "sounddevice", microphone)
    return list(microphone_chunks(8000, size, stopped))


def test_samples_that_were_heard_before_the_stop_come_in_order(monkeypatch):
    microphone = Microphone(np.arange(1050, dtype=np.int16), interrupt=False)
    looks = iter([False] * 4 + [True] * 100)
    chunks = hear(microphone, monkeypatch, lambda: next(looks))
    assert [len(chunk) for chunk in chunks] == [100] * 10 and chunks[0].dtype == np.int16
    np.testing.assert_array_equal(np.concatenate(chunks), np.arange(1000))
    assert microphone.opened == {"samplerate": 8000, "blocksize": 100, "channels": 1, "dtype": "int16"}
    assert microphone.stream.stopped and microphone.stream.closed


def test_a_microphone_that_gives_nothing_can_be_stopped(monkeypatch):
    looks = iter([False, False, True])
    assert hear(Microphone(np.zeros(0, np.int16), interrupt=False), monkeypatch, lambda: next(looks)) == []


def test_lost_samples_are_warned_of_once(monkeypatch):
    microphone = Microphone(np.zeros(500, np.int16), lost=True, interrupt=False)
    with pytest.warns(UserWarning, match="the system has lost samples of the microphone") as found:
        hear(microphone, monkeypatch, lambda: True)
    assert len(found) == 1


def test_errors_say_how_to_mend_them(monkeypatch):
    with pytest.raises(OSError, match=r"^no microphone can be opened at 8000 Hz \(Invalid sample rate\); connect one"):
        hear(Microphone(None, error="Invalid sample rate"), monkeypatch, lambda: True)
    with pytest.raises(ImportError, match=r"^the microphone needs the package sounddevice: pip install 'rnnt\[microph"):
        hear(None, monkeypatch, lambda: True)
    monkeypatch.delitem(sys.modules, "sounddevice")
    load = builtins.__import__

    def failing(name, *arguments):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return load(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", failing)
    with pytest.raises(
        ImportError, match=r"^sounddevice needs PortAudio \(PortAudio library not found\); on Debian: apt"
    ):
        list(microphone_chunks(8000, 100, lambda: True))
