"""The best path against that of the whole lattice and against brute force; bands that grow."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt.decoding import viterbi
from rnnt.decoding.alignment import Band, align, band_around, whole_band
from rnnt.decoding.viterbi import band_nodes, best_path, widened, widest_path


@pytest.fixture(scope="module")
def model(recognizer):
    return copy.deepcopy(recognizer.model).double()


def case(model, frames, labels, seed):
    rng = torch.Generator().manual_seed(seed)
    encoder = torch.randn(1, frames, model.encoder.width, generator=rng, dtype=torch.float64)
    return encoder, torch.randint(0, model.vocabulary - 1, (1, labels), generator=rng)


def whole(model, encoder, targets, band=None):
    lengths = torch.tensor([encoder.shape[1]]), torch.tensor([targets.shape[1]])
    with torch.inference_mode():
        return align(model, encoder, lengths[0], targets, lengths[1], band)[0]


def all_nodes(encoder, targets):
    return whole_band(torch.tensor([encoder.shape[1]]), targets.shape[1] + 1)


@torch.inference_mode()
def path_of(*arguments):
    return best_path(*arguments)


@given(st.integers(1, 30), st.integers(0, 40), st.integers(0, 99))
@settings(max_examples=40)
def test_the_whole_band_gives_the_best_path_of_the_lattice(model, frames, labels, seed):
    encoder, targets = case(model, frames, labels, seed)
    expected = whole(model, encoder, targets)
    path = path_of(model, encoder, targets, all_nodes(encoder, targets))
    assert path.frames == expected.frames
    assert path.log_prob == pytest.approx(expected.path_log_prob, abs=1e-8)


@given(st.integers(1, 25), st.integers(1, 25), st.integers(0, 99), st.integers(0, 6))
@settings(max_examples=40)
def test_any_band_gives_its_own_best_path(model, frames, labels, seed, margin):
    encoder, targets = case(model, frames, labels, seed)
    places = torch.randint(0, frames, (1, labels), generator=torch.Generator().manual_seed(seed)).sort().values
    band = band_around(places, torch.tensor([frames]), torch.tensor([labels]), margin)
    expected = whole(model, encoder, targets, band)
    path = path_of(model, encoder, targets, band)
    assert path.frames == expected.frames
    assert path.log_prob == pytest.approx(expected.path_log_prob, abs=1e-8)


def test_a_band_that_holds_the_best_path_gives_it(model):
    encoder, targets = case(model, 60, 50, 0)
    expected = whole(model, encoder, targets)
    for margin in (0, 1, 5):
        frames = torch.tensor([expected.frames])
        band = band_around(frames, torch.tensor([60]), torch.tensor([50]), margin)
        assert path_of(model, encoder, targets, band).frames == expected.frames


@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_do_not_matter(model, monkeypatch, block):
    encoder, targets = case(model, 33, 21, 3)
    band = all_nodes(encoder, targets)
    expected = path_of(model, encoder, targets, band)
    monkeypatch.setattr(viterbi, "_BLOCK", block)
    path = path_of(model, encoder, targets, band)
    assert path.frames == expected.frames and path.log_prob == pytest.approx(expected.log_prob, abs=1e-8)


@pytest.mark.parametrize("shift", [-40, -9, 9, 40])
def test_a_band_in_the_wrong_place_grows_to_the_best_path(model, monkeypatch, shift):
    """Labels that are more probable the nearer they are to their frame, in place of a model's."""
    emitted = np.sort(np.random.default_rng(0).integers(0, 200, 30))

    def scores(model, encoder_1TD, targets_1U, lows, highs, predictor_1UD):
        for t, (low, high) in enumerate(zip(lows, highs)):
            label = np.append(-0.1 * np.abs(t - emitted), -np.inf)[low : high + 1]
            yield np.full(len(label), -0.5), label

    monkeypatch.setattr(viterbi, "_scores", scores)
    encoder, targets = case(model, 200, 30, 0)
    shifted = torch.from_numpy(emitted + shift)[None].clamp(0, 199)
    band = band_around(shifted, torch.tensor([200]), torch.tensor([30]), 3)
    assert path_of(model, encoder, targets, band).frames != emitted.tolist()
    with torch.inference_mode():
        path = widest_path(model, encoder, targets, band, 2)
    assert path.frames == emitted.tolist() and path.log_prob == pytest.approx(-0.5 * 200)


def test_a_band_is_not_widened_beyond_the_limit(model, monkeypatch):
    encoder, targets = case(model, 200, 30, 5)
    band = band_around(torch.full((1, 30), 199), torch.tensor([200]), torch.tensor([30]), 3)
    monkeypatch.setattr(viterbi, "MOST_NODES", band_nodes(band))
    with torch.inference_mode():
        path = widest_path(model, encoder, targets, band, 5)
    assert path.frames == path_of(model, encoder, targets, band).frames


def test_widening_keeps_a_band_a_band():
    rng = np.random.default_rng(0)
    for _ in range(200):
        frames, labels, margin = (int(x) for x in (rng.integers(2, 40), rng.integers(1, 20), rng.integers(1, 9)))
        places = np.sort(rng.integers(0, frames, labels))
        band = band_around(torch.from_numpy(places)[None], torch.tensor([frames]), torch.tensor([labels]), 1)
        path = [int(rng.integers(a, b + 1)) for a, b in zip(band.first[0, 1:], band.last[0, :-1])]
        wider = widened(band, path, frames, margin)
        low, high = band.first[0, 1:], band.last[0, :-1]
        touched = [(e <= a and a > 0) or (e >= b and b < frames - 1) for e, a, b in zip(path, low, high)]
        assert (wider is not None) == any(touched)
        if wider is not None:
            first, last = (x[0] for x in wider)
            assert first[0] == 0 and last[-1] == frames - 1 and (first[1:] <= last[:-1]).all()
            assert (first.diff() >= 0).all() and (last.diff() >= 0).all() and 0 <= first.min() <= last.max() < frames
            assert (first <= band.first).all() and (last >= band.last).all() and band_nodes(wider) > band_nodes(band)


def test_an_additive_joint_and_no_symbols(make):
    for recognizer in (make(), make(model={"joint": {"kind": "additive"}})):
        encoder = torch.randn(1, 9, recognizer.model.encoder.width)
        for labels in (0, 3):
            targets = torch.ones(1, labels, dtype=torch.long)
            path = path_of(recognizer.model, encoder, targets, all_nodes(encoder, targets))
            expected = whole(recognizer.model, encoder, targets)
            assert path.frames == expected.frames
            assert path.log_prob == pytest.approx(expected.path_log_prob, abs=1e-3)


def test_band_nodes():
    assert band_nodes(Band(torch.tensor([[0, 1]]), torch.tensor([[2, 4]]))) == 7
