"""Uploads."""

import numpy as np
import pytest
from serve_clients import error_of, post, wav

from rnnt.serve.audio import samples_of, samples_of_base64


def test_a_recording_that_unpacks_to_hours_is_refused_early(served, serving):
    """100 minutes of zeros are a FLAC of a few kilobytes."""
    bomb = wav(np.zeros(100 * 60 * 16000, np.int16), kind="FLAC")
    assert len(bomb) < 2_000_000
    with serving(served, recording_seconds=600) as address:
        assert "lasts longer than the 600 s" in error_of(post(address, {"file": ("bomb.flac", bomb)}), 400)
        assert post(address, {"file": wav(np.zeros(16000, np.int16))}).json()["text"] is not None


@pytest.mark.parametrize(
    ("kind", "message", "expected"), [("int16", b"\x01\x00\xff\xff", [1, -1]), ("float32", b"\0" * 8, [0, 0])]
)
def test_samples_are_little_endian(kind, message, expected):
    assert samples_of(message, kind).tolist() == expected
    with pytest.raises(ValueError, match="ends within a sample"):
        samples_of(message + b"\0", kind)


@pytest.mark.parametrize("text", [None, 3, "???", "AQ"])
def test_what_is_no_base64(text):
    with pytest.raises(ValueError, match="no base64"):
        samples_of_base64(text)
    assert samples_of_base64("AQD//w==").tolist() == [1, -1]
