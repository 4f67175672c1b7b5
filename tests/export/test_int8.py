"""Weights of 8 bits: which layers stay in float32."""

import pytest

import rnnt
from rnnt.dataset import Dataset
from rnnt.export.check import check_engine, read_references
from rnnt.export.format import graph_bytes
from rnnt.export.int8 import fit_int8, shared_layers
from rnnt.export.plain_onnx import PLAIN, plain_graphs


def plain(items, total, name):
    return items


@pytest.fixture(scope="module")
def model(run):
    return rnnt.load(run)


@pytest.fixture(scope="module")
def split(prepared):
    return Dataset(prepared / "valid")


def test_int8_keeps_layers_until_the_rate_is_allowed(model, split):
    graphs = plain_graphs(model)
    references, _ = read_references(model, split, plain)
    free = fit_int8(PLAIN, model, graphs, references, 100.0, plain)  # any rate is low enough
    assert not free.kept and not free.damages and graph_bytes(free.graphs) < graph_bytes(graphs)
    never = fit_int8(PLAIN, model, graphs, references[:2], -1.0, plain)  # no rate is so low
    assert set(never.kept) == set(shared_layers(graphs))
    assert never.damages[never.kept[0]] == max(never.damages.values()) > 0
    exact = check_engine("all kept", model, PLAIN.engines(model, never.graphs)["onnx"], 0, references[:2], plain)
    assert exact.largest < 1e-2 and exact.differing == 0


def test_layers_of_streams_are_those_of_the_whole(make):
    recognizer = make(
        features={"normalization": "none"},
        model={"encoder": {"hidden": 32, "pre_layers": 2, "post_layers": 1}, "predictor": {"layers": 1}},
    )
    layers = shared_layers(plain_graphs(recognizer))
    shared = [of for of in layers.values() if len(of) == 2]
    assert len(shared) == 3 and all(set(of) == {"encoder.onnx", "encoder-stream.onnx"} for of in shared)


def test_a_stream_may_come_without_the_whole(make):
    graphs = plain_graphs(make(features={"normalization": "none"}))
    alone = shared_layers({name: graphs[name] for name in ("encoder-stream.onnx", "decoder_joint.onnx")})
    assert len(alone) == len(shared_layers(graphs)) and all(len(of) == 1 for of in alone.values())
