"""The check of an export."""

import numpy as np
import pytest

import rnnt
from rnnt.dataset import Dataset
from rnnt.export.check import check_engine, damage, read_references, result_table
from rnnt.export.plain_onnx import PLAIN, plain_graphs
from rnnt.export.weights import shift_blank


def plain(items, total, name):
    return items


@pytest.fixture(scope="module")
def model(run):
    return rnnt.load(run)


@pytest.fixture(scope="module")
def split(prepared):
    return Dataset(prepared / "valid")


def test_data_of_another_rate_is_refused(make, split):
    with pytest.raises(ValueError, match="the data is at 16000 Hz, the model at 8000 Hz; prepare it again"):
        read_references(make(features={"sample_rate": 8000, "high_hz": 4000.0}), split, plain)


def test_references_have_the_logits_of_their_paths(model, split):
    references, result = read_references(model, split, plain)
    assert result.speed > 0 and len(references) == len(split)
    assert all(np.isfinite(each.logits).all() and len(each.logits) >= each.length for each in references)


def test_the_bias_of_blank_is_measured(model, split):
    references, first = read_references(model, split, plain)
    graphs = {name: shift_blank(graph, -1.5) for name, graph in plain_graphs(model).items()}
    make = PLAIN.engines(model, graphs)["onnx"]
    result = check_engine("biased", model, make, 7, references, plain)
    assert result.bias == pytest.approx(1.5, abs=1e-3) and result.largest == pytest.approx(1.5, abs=1e-2)
    assert damage(make(), references[:2]) == pytest.approx(1.5 / model.model.vocabulary, rel=0.01)
    lines = result_table([first, result], "WER", "x real time")
    assert [line.split()[0] for line in lines] == ["WER", "torch", "biased"] and len(set(map(len, lines))) == 1
