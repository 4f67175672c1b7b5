"""Occupancies are those of autograd through stored logits, and the script counts and draws them."""

import sys
from pathlib import Path

import plot_occupancy
import pytest
import torch
from loss_implementations import TOLERANCE
from plot_occupancy import occupancy, visited

import rnnt
from rnnt.dataset import Dataset

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture(scope="module")
def data():
    return Dataset(GOLDEN / "data" / "valid")


def by_autograd(recognizer, audio, text):
    """The gradient of log P by the scores of both arcs of each node, in float64, by the recursion over single nodes."""
    model = recognizer.model
    with torch.no_grad():
        samples, targets = (
            torch.from_numpy(audio.copy())[None],
            torch.tensor([recognizer.tokenizer.encode(text)]).long(),
        )
        encoder, _ = model.encoder(*recognizer.features(samples, torch.tensor([samples.shape[1]])))
        projected = model.joint.project_encoder(encoder), model.joint.project_predictor(model.predictor(targets))
        log_probs = model.joint(projected[0][0, :, None], projected[1][0, None]).double().log_softmax(-1)
    frames, width = log_probs.shape[:2]
    offset = torch.zeros(frames, width, dtype=torch.float64, requires_grad=True)  # added to both arcs of a node
    alpha = {(0, 0): torch.zeros((), dtype=torch.float64)}
    for t in range(frames):
        for u in range(width):
            arcs = []
            if t:
                arcs.append(alpha[t - 1, u] + log_probs[t - 1, u, model.blank] + offset[t - 1, u])
            if u:
                arcs.append(alpha[t, u - 1] + log_probs[t, u - 1, targets[0, u - 1]] + offset[t, u - 1])
            if arcs:
                alpha[t, u] = torch.logsumexp(torch.stack(arcs), 0)
    log_p = alpha[frames - 1, width - 1] + log_probs[-1, -1, model.blank] + offset[-1, -1]
    return torch.autograd.grad(log_p, offset)[0]


def test_occupancies_are_those_of_autograd_through_stored_logits(data):
    recognizer = rnnt.load(GOLDEN / "model")
    for i in (0, 4):
        found = occupancy(recognizer, data[i].input, data[i].text)
        torch.testing.assert_close(
            found.double(), by_autograd(recognizer, data[i].input, data[i].text), atol=1e-5, rtol=1e-4
        )


def test_an_additive_joint_has_occupancies_too(make, utterances):
    recognizer = make(model={"joint": {"kind": "additive"}, "encoder": {"lstm": {"hidden": 8}}})
    found = occupancy(recognizer, utterances[0], "a b b")
    torch.testing.assert_close(found.double(), by_autograd(recognizer, utterances[0], "a b b"), atol=1e-5, rtol=1e-4)


def test_without_symbols_the_alignment_passes_through_every_node(data):
    found = occupancy(rnnt.load(GOLDEN / "model"), data[0].input, "")
    torch.testing.assert_close(found, torch.ones(len(found), 1))


def test_the_script_counts_the_nodes_above_the_tolerance_and_draws_a_panel_for_each_model(
    data, tmp_path, monkeypatch, capsys
):
    recognizer = rnnt.load(GOLDEN / "model")
    lattices = [occupancy(recognizer, data[i].input, data[i].text) for i in range(2)]
    some, nodes = sum(int((x > TOLERANCE).sum()) for x in lattices), sum(x.numel() for x in lattices)
    assert visited(recognizer, data, 2) == (some, nodes) and 0 < some < nodes
    picture, model = tmp_path / "occupancy.png", str(GOLDEN / "model")
    arguments = [str(GOLDEN / "data" / "valid"), model, model, "--names", "early", "late", "--count", "2"]
    monkeypatch.setattr(sys, "argv", ["plot_occupancy.py", *arguments, "--picture", str(picture)])
    plot_occupancy.main()
    line = f"{some} of {nodes} nodes visited ({100 * some / nodes:.1f} %)"
    assert capsys.readouterr().out.splitlines() == [f"early: {line}", f"late: {line}"]
    assert picture.read_bytes().startswith(b"\x89PNG")
