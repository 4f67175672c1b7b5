"""Alignment against brute force over all paths of tiny lattices, and the invariances that it promises."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt.decoding.alignment import Band, align, band_around, whole_band
from rnnt.loss import node_scores


@pytest.fixture(scope="module")
def model(recognizer):
    """A random model in float64, so that the oracle's rounding does not matter."""
    return copy.deepcopy(recognizer.model).double()


def scores_of(model, encoder_TD, targets):
    """The scores of blank and label at all nodes, by the whole lattice: (T, U+1) arrays."""
    joint, targets_1U = model.joint, torch.tensor([targets], dtype=torch.long)
    weight, bias = (None, None) if joint.output is None else (joint.output.weight, joint.output.bias)
    with torch.inference_mode():
        scores = node_scores(
            joint.project_encoder(encoder_TD[None]), joint.project_predictor(model.predictor(targets_1U)), weight, bias,
            targets_1U, torch.tensor([len(encoder_TD)]), torch.tensor([len(targets)]), activation=joint.activation,
        )  # fmt: skip
    return [x[0].double().numpy() for x in scores]


def all_paths(blank, label, allowed=lambda t, u: True):
    """(frames of the labels, score) of every path through the allowed nodes, one by one."""
    frames, labels = blank.shape[0], blank.shape[1] - 1
    for emitted in itertools.combinations_with_replacement(range(frames), labels):
        score, u, inside = 0.0, 0, True
        for t in range(frames):
            while u < labels and emitted[u] == t:
                inside &= allowed(t, u)
                score, u = score + label[t, u], u + 1
            inside &= allowed(t, u)
            score += blank[t, u]
        if inside:
            yield list(emitted), score


def brute_force(blank, label, allowed=lambda t, u: True):
    """Best frames, its score, log P, and expected frames and posteriors of the symbols."""
    paths = list(all_paths(blank, label, allowed))
    scores = np.array([score for _, score in paths])
    log_p = np.logaddexp.reduce(scores)
    emitted, best = np.array([frames for frames, _ in paths]), int(np.argmax(scores))
    weights = np.exp(scores - log_p)
    chosen = np.exp(label) / np.maximum(-np.expm1(blank), 1e-300)
    chosen = weights @ np.array([[chosen[t, u] for u, t in enumerate(frames)] for frames, _ in paths])
    return paths[best][0], scores[best], log_p, weights @ emitted, chosen


def random_case(model, frames, labels, seed):
    rng = torch.Generator().manual_seed(seed)
    encoder_TD = torch.randn(frames, model.encoder.width, generator=rng, dtype=torch.float64)
    return encoder_TD, torch.randint(0, model.vocabulary - 1, (labels,), generator=rng).tolist()


def align_one(model, encoder_TD, targets, band=None):
    targets_1U = torch.tensor([targets], dtype=torch.long)
    lengths = torch.tensor([len(encoder_TD)]), torch.tensor([len(targets)])
    with torch.inference_mode():
        return align(model, encoder_TD[None], lengths[0], targets_1U, lengths[1], band)[0]


def check(alignment, expected):
    frames, path_score, log_p, means, posteriors = expected
    assert alignment.frames == frames
    assert alignment.path_log_prob == pytest.approx(path_score, abs=1e-8)
    assert alignment.log_prob == pytest.approx(log_p, abs=1e-8)
    np.testing.assert_allclose(alignment.expected, means, atol=1e-6)
    np.testing.assert_allclose(alignment.posteriors, posteriors, atol=1e-6)


@given(frames=st.integers(1, 5), labels=st.integers(0, 5), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_the_whole_lattice_gives_what_all_paths_give(model, frames, labels, seed):
    encoder_TD, targets = random_case(model, frames, labels, seed)
    blank, label = scores_of(model, encoder_TD, targets)
    alignment = align_one(model, encoder_TD, targets)
    check(alignment, brute_force(blank, label))
    np.testing.assert_allclose(
        alignment.log_probs, [label[t, u] for u, t in enumerate(alignment.frames)], rtol=1e-4, atol=1e-5
    )


def test_an_additive_joint_is_aligned_too(make):
    model = make(
        model={"encoder": {"hidden": 16}, "predictor": {"hidden": 8}, "joint": {"kind": "additive"}}
    ).model.double()
    encoder_TD, targets = random_case(model, 4, 3, 0)
    check(align_one(model, encoder_TD, targets), brute_force(*scores_of(model, encoder_TD, targets)))


@given(
    path=st.lists(st.integers(0, 5), max_size=5),
    frames=st.integers(1, 6),
    margin=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_a_band_gives_what_the_paths_within_it_give(model, path, frames, margin, seed):
    path = sorted(min(t, frames - 1) for t in path)
    encoder_TD, targets = random_case(model, frames, len(path), seed)
    band = band_around(torch.tensor([path]).long(), torch.tensor([frames]), torch.tensor([len(path)]), margin)
    first, last = (x[0].tolist() for x in band)
    assert first == [max(t - margin, 0) for t in [0, *path]]
    assert last == [min(t + margin, frames - 1) for t in [*path, frames - 1]]
    expected = brute_force(*scores_of(model, encoder_TD, targets), lambda t, u: first[u] <= t <= last[u])
    check(align_one(model, encoder_TD, targets, band), expected)


@pytest.mark.parametrize("banded", [False, True])
def test_neither_the_batch_nor_the_padding_matters(model, banded):
    sizes = [(7, 3), (1, 0), (4, 6), (9, 0), (1, 2), (9, 6)]
    cases = [random_case(model, *size, seed) for seed, size in enumerate(sizes)]
    paths = [sorted(np.random.default_rng(i).integers(0, t, u).tolist()) for i, (t, u) in enumerate(sizes)]
    bands = [
        band_around(torch.tensor([p]).long(), torch.tensor([t]), torch.tensor([u]), 1) if banded else None
        for p, (t, u) in zip(paths, sizes)
    ]
    alone = [align_one(model, *case, band) for case, band in zip(cases, bands)]
    encoder_BTD = torch.full((len(sizes), 11, model.encoder.width), torch.nan, dtype=torch.float64)
    targets_BU, frames_BU = torch.full((2, len(sizes), 8), -7)
    for i, ((encoder_TD, targets), path) in enumerate(zip(cases, paths)):
        encoder_BTD[i, : len(encoder_TD)] = encoder_TD
        targets_BU[i, : len(targets)], frames_BU[i, : len(path)] = torch.tensor(targets), torch.tensor(path)
    lengths, target_lengths = torch.tensor(sizes).T
    band = band_around(frames_BU, lengths, target_lengths, 1) if banded else None
    with torch.inference_mode():
        together = align(model, encoder_BTD, lengths, targets_BU, target_lengths, band)
    for one, other in zip(alone, together):
        assert one.frames == other.frames
        for name in ("expected", "log_probs", "posteriors", "log_prob", "path_log_prob"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-5)


def test_the_sum_over_all_paths_is_the_loss(model):
    encoder_TD, targets = random_case(model, 50, 30, 3)
    with torch.inference_mode():
        loss = model.loss(encoder_TD[None], torch.tensor([50]), torch.tensor([targets]), torch.tensor([30]))
    assert -align_one(model, encoder_TD, targets).log_prob == pytest.approx(loss.item(), rel=1e-5)


def test_a_band_needs_memory_in_proportion_to_its_nodes(model, monkeypatch):
    """A lattice of 10^10 nodes, of which a band of 10^6 is visited."""
    frames, labels, margin = 20_000, 5_000, 8
    path = torch.linspace(0, frames - 1, labels).long()[None]
    band = band_around(path, torch.tensor([frames]), torch.tensor([labels]), margin)
    encoder_TD, targets = random_case(model, frames, labels, 0)
    alignment = align_one(model, encoder_TD, targets, band)
    assert len(alignment.frames) == labels and alignment.frames == sorted(alignment.frames)
    emitted = torch.tensor(alignment.frames)
    assert (emitted >= band.first[0, :-1]).all() and (emitted <= band.last[0, :-1]).all()
    assert alignment.path_log_prob < alignment.log_prob < 0


def test_the_whole_band_is_the_lattice():
    band = whole_band(torch.tensor([3, 5]), 2)
    assert isinstance(band, Band)
    assert band.first.tolist() == [[0, 0], [0, 0]] and band.last.tolist() == [[2, 2], [4, 4]]
