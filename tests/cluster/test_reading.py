"""Readers: the windows of segments, the digests of files, and errors that travel."""

import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from rnnt.cluster.inputs import Recording
from rnnt.cluster.reading import ReadSegments
from rnnt.recordings import End, Grid, Piece

GRID = Grid(rate=16000, hop=160, step=480)


@pytest.fixture
def recordings(tmp_path, speech):
    soundfile.write(tmp_path / "long.wav", speech(400, 0), 16000)
    soundfile.write(tmp_path / "short.wav", speech(1, 1), 16000)
    (tmp_path / "odd.wav").write_bytes(b"RIFF")
    return [Recording(str(tmp_path / name), 1, 1) for name in ("long.wav", "odd.wav", "none.wav", "short.wav")]


def test_windows_hold_all_segments_and_every_end_with_its_digest(recordings, speech):
    windows = list(ReadSegments(GRID, 8)(recordings))
    items = [item for window, _ in windows for item in window]
    digests = {number: digest for _, of_window in windows for number, digest in of_window.items()}
    ends = {item.recording: item for item in items if isinstance(item, End)}
    pieces = [item for item in items if isinstance(item, Piece)]
    assert len(windows) > 1 and [item.recording for item in items if isinstance(item, End)] == [0, 1, 2, 3]
    long = speech(400, 0)
    for piece in pieces:
        if piece.recording == 0:
            assert np.array_equal(piece.samples, long[piece.start : piece.end])
    assert ends[0].length == len(long) and ends[3].length == 16000
    assert "is not audio" in str(ends[1].error) and str(ends[2].error).endswith("none.wav: no such file")
    with open(recordings[3].path, "rb") as file:
        assert digests[3] == hashlib.sha256(file.read()).hexdigest()
    assert digests[2] == "" and len(digests[1]) == 64
    again = pickle.loads(pickle.dumps(windows))
    assert [str(x.error) for window, _ in again for x in window if isinstance(x, End)] == [
        str(ends[i].error) for i in range(4)
    ]


def test_windows_are_the_same_every_time(recordings):
    first, second = (list(ReadSegments(GRID, 8)(recordings)) for _ in range(2))
    places = [
        [[(x.recording, getattr(x, "start", None)) for x in window] for window, _ in each] for each in (first, second)
    ]
    assert places[0] == places[1]


def test_a_reader_does_without_torch():
    program = "import sys, rnnt.cluster.reading; print('torch' in sys.modules, 'ray' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "False False\n"
