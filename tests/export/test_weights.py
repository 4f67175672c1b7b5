"""Smaller weights: the same graphs with other numbers."""

import numpy as np
import pytest

from rnnt.export.plain_onnx import DECODER, ENCODER, plain_engines, plain_graphs
from rnnt.export.weights import halve, layer_names, quantize, shift_blank

LARGE = {
    "encoder": {"hidden": 48, "pre_layers": 1, "post_layers": 1},
    "predictor": {"embedding": 32, "hidden": 32, "layers": 1},
    "joint": {"hidden": 48},
}


@pytest.fixture(scope="module")
def model(make):
    recognizer = make(model=LARGE)
    return recognizer, plain_graphs(recognizer)


def weights_of(graph, kind):
    return [x for x in graph.graph.initializer if x.data_type == kind and int(np.prod(x.dims)) >= 1024]


def test_features_are_no_layers(model):
    _, graphs = model
    names = layer_names(graphs[ENCODER])
    assert len(names) == 2 and all("LSTM" in name for name in names)
    assert sum("LSTM" in name for name in layer_names(graphs[DECODER])) == 1


@pytest.mark.parametrize("change, most", [(quantize, 0.1), (halve, 2e-3)])
def test_frames_change_a_little(model, speech, change, most):
    recognizer, graphs = model
    changed = {name: change(graph) for name, graph in graphs.items()}
    before, after = (plain_engines(recognizer, each)["onnx"]() for each in (graphs, changed))
    audio = speech(1.0, 3) / 32768
    difference = np.abs(before.encode(audio) - after.encode(audio)).max()
    assert 0 < difference < most
    sizes = [sum(graph.ByteSize() for graph in each.values()) for each in (graphs, changed)]
    assert sizes[1] < sizes[0]


def test_a_layer_that_is_kept_keeps_its_weights(model):
    _, graphs = model
    names = layer_names(graphs[ENCODER])
    kinds = [
        [node.op_type for node in quantize(graphs[ENCODER], keep).graph.node].count("DynamicQuantizeLSTM")
        for keep in ([], names[:1], names)
    ]
    assert kinds == [2, 1, 0]


def test_blank_becomes_less_probable(model, speech):
    recognizer, graphs = model
    shifted = {name: shift_blank(graph, 0.5) for name, graph in graphs.items()}
    before, after = (plain_engines(recognizer, each)["onnx"]() for each in (graphs, shifted))
    frames = before.encode(speech(0.5, 1) / 32768)
    difference = after.logits(frames, after.start())[0] - before.logits(frames, before.start())[0]
    np.testing.assert_allclose(difference[:, -1], -0.5, atol=1e-5)
    np.testing.assert_array_equal(difference[:, :-1], 0)
