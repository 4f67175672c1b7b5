"""The picture of an alignment, and the occupancies in it."""

from itertools import pairwise

import pytest
import torch
from matplotlib.image import imread

from rnnt import alignment_picture
from rnnt.alignment_picture import draw_alignment, network_outputs, occupancy
from rnnt.decoding.alignment import align
from rnnt.windows import encode_windows

MODEL = {"encoder": {"hidden": 16, "pre_layers": 1, "post_layers": 1}, "predictor": {"embedding": 0, "hidden": 8}}


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


def test_outputs_of_an_additive_joint_are_those_of_each_network(make, speech):
    recognizer = make(model={**MODEL, "joint": {"kind": "additive"}})
    tokens = [0, 1, 2, 0]
    with recognizer.inference():
        encoder = encode_windows(recognizer, speech(1.5, 0))
        lattice = occupancy(recognizer, encoder, tokens)
        encoder_TV, predictor_UV = network_outputs(recognizer, encoder, tokens, lattice)
        model = recognizer.model
        predicted = model.predictor(torch.tensor([tokens]))[0]
        torch.testing.assert_close(encoder_TV, model.joint.encoder(encoder[0]).softmax(1))
        torch.testing.assert_close(predictor_UV, model.joint.predictor(predicted).softmax(1))
        # The distribution at a node is their product, normalised.
        product = encoder_TV[3] * predictor_UV[2]
        node = model.joint(model.joint.encoder(encoder[0, 3]), model.joint.predictor(predicted[2])).softmax(0)
        torch.testing.assert_close(product / product.sum(), node)


def test_outputs_of_a_network_joint_are_the_largest_over_the_nodes(recognizer, speech, monkeypatch):
    monkeypatch.setattr(alignment_picture, "_CHUNK", 7)
    tokens = [0, 1, 2, 0]
    with recognizer.inference():
        encoder = encode_windows(recognizer, speech(1.5, 0))
        lattice = occupancy(recognizer, encoder, tokens)
        by_frame, by_symbol = network_outputs(recognizer, encoder, tokens, lattice)
        joint = recognizer.model.joint
        projected = (
            joint.encoder(encoder[0])[:, None],
            joint.predictor(recognizer.model.predictor(torch.tensor([tokens]))[0]),
        )
        nodes_TUV = lattice[:, :, None] * joint(*projected).softmax(2)
    nodes_TUV = nodes_TUV * (lattice >= 0.01)[:, :, None]
    torch.testing.assert_close(by_frame, nodes_TUV.amax(1))
    torch.testing.assert_close(by_symbol, nodes_TUV.amax(0))


@pytest.mark.parametrize("text", ["a b c", "a", "b b b b b b b b b b b b"])
def test_a_picture_is_written_whole(recognizer, speech, tmp_path, text):
    picture = tmp_path / "a.png"
    picture.write_text("older")
    samples = speech(2.0, 1)
    draw_alignment(recognizer, samples, recognizer.align(samples, text), picture)
    assert imread(picture).shape[0] == 1100 and [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_long_recording_is_refused(recognizer, speech, tmp_path, monkeypatch):
    samples = speech(2.0, 1)
    transcript = recognizer.align(samples, "a b c")
    monkeypatch.setattr(alignment_picture, "_MOST_NODES", 100)
    with pytest.raises(ValueError, match="a picture of 2 s and 3 symbols could not be read; draw an excerpt"):
        draw_alignment(recognizer, samples, transcript, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word, text", [("cab", "C A B"), ("a", "A"), ("한$ab" * 20, "A B")])
def test_a_picture_of_symbols(speller, tmp_path, word, text, recwarn):
    alignment_picture.draw_symbol_alignment(speller, speller.align_symbols(word, text), tmp_path / "a.png")
    assert imread(tmp_path / "a.png").shape[0] == 1100 and not recwarn.list


def test_a_picture_of_too_many_symbols_is_refused(speller, tmp_path, monkeypatch):
    monkeypatch.setattr(alignment_picture, "_MOST_NODES", 11)
    alignment_picture.draw_symbol_alignment(speller, speller.align_symbols("ab", "A B"), tmp_path / "a.png")
    with pytest.raises(ValueError, match="a picture of 3 input symbols and 3 symbols could not be read"):
        alignment_picture.draw_symbol_alignment(speller, speller.align_symbols("cab", "C A B"), tmp_path / "b.png")


def test_characters_that_the_font_lacks_have_codes():
    assert alignment_picture._shown("5 $ é 한") == "5 \\$ é U+D55C"
