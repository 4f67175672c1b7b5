"""The picture of an alignment, and the occupancies in it."""

from itertools import pairwise

import pytest
import torch
from matplotlib.image import imread

from rnnt import alignment_picture
from rnnt.alignment_picture import draw_alignment, occupancy
from rnnt.decoding.alignment import align
from rnnt.windows import encode_windows


def test_occupancies_agree_with_the_alignment(recognizer, speech):
    """A path leaves each column once, and each frame once."""
    tokens = [0, 1, 2, 0]
    with recognizer.inference():
        encoder = encode_windows(recognizer, speech(1.5, 0))
        lengths = torch.tensor([encoder.shape[1]]), torch.tensor([len(tokens)])
        (alignment,) = align(recognizer.model, encoder, lengths[0], torch.tensor([tokens]), lengths[1])
        lattice = occupancy(recognizer, encoder, tokens)
    assert lattice.shape == (encoder.shape[1], len(tokens) + 1)
    assert lattice[0, 0] == pytest.approx(1, abs=1e-5) and lattice[-1, -1] == pytest.approx(1, abs=1e-5)
    # Each path visits T + U nodes. Symbol u is emitted at its mean frame, so column u + 1 is entered there.
    assert float(lattice.sum()) == pytest.approx(encoder.shape[1] + len(tokens), abs=1e-3)
    spans = lattice.sum(0) - 1
    ends = [0.0, *alignment.expected, encoder.shape[1] - 1.0]
    assert spans.tolist() == pytest.approx([b - a for a, b in pairwise(ends)], abs=1e-3)


@pytest.mark.parametrize("text", ["a b c", "a", "b b b b b b b b b b b b"])
def test_a_picture_is_written_whole(recognizer, speech, tmp_path, text):
    picture = tmp_path / "a.png"
    picture.write_text("older")
    samples = speech(2.0, 1)
    draw_alignment(recognizer, samples, recognizer.align(samples, text), picture)
    assert imread(picture).shape[0] == 700 and [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_long_recording_is_refused(recognizer, speech, tmp_path, monkeypatch):
    samples = speech(2.0, 1)
    transcript = recognizer.align(samples, "a b c")
    monkeypatch.setattr(alignment_picture, "_MOST_NODES", 100)
    with pytest.raises(ValueError, match="a picture of 2 s and 3 symbols could not be read; draw an excerpt"):
        draw_alignment(recognizer, samples, transcript, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
