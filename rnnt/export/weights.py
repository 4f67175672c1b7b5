"""Smaller weights for exported graphs: 8 bits with dynamic quantization, or 16-bit floats."""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from rnnt.export.onnx_file import require_onnx

_KINDS = ("LSTM", "MatMul")
_LEAST = 1024  # values of a weight that is worth storing in fewer bits
_FRONT_END = "/frontend/"  # of the names of nodes that compute features


def layer_names(graph: Any) -> list[str]:
    """Return the names of the nodes of a graph whose weights can be quantized: LSTM layers and linear maps."""
    onnx = require_onnx()
    weights = {x.name: int(np.prod(x.dims)) for x in graph.graph.initializer}
    found = []
    for node in _rewritten(onnx, graph).graph.node:
        large = any(weights.get(name, 0) >= _LEAST for name in node.input[1:3])
        if node.op_type in _KINDS and large and not node.name.startswith(_FRONT_END):
            found.append(node.name)
    return found


def quantize(graph: Any, keep: Collection[str] = ()) -> Any:
    """Return a graph whose layers have weights of 8 bits, each output with its scale, except the layers named `keep`.

    Activations are quantized while the graph runs, by the range that they have then.
    """
    onnx = require_onnx()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = _rewritten(onnx, graph)
    chosen = [name for name in layer_names(graph) if name not in keep]
    if not chosen:
        return graph
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=list(_KINDS),
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=chosen,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(path)


def halve(graph: Any) -> Any:
    """Return a graph whose large weights are stored as 16-bit floats. It computes in 32 bits on any device."""
    onnx = require_onnx()
    graph = _copied(onnx, graph)
    nodes = []
    used = {name for node in graph.graph.node if node.name.startswith(_FRONT_END) for name in node.input}
    for weight in graph.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or int(np.prod(weight.dims)) < _LEAST or weight.name in used:
            continue
        values = onnx.numpy_helper.to_array(weight)
        stored = f"{weight.name}_float16"
        nodes.append(onnx.helper.make_node("Cast", [stored], [weight.name], to=onnx.TensorProto.FLOAT))
        most = np.finfo(np.float16).max
        weight.CopyFrom(onnx.numpy_helper.from_array(values.clip(-most, most).astype(np.float16), stored))
    rest = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*nodes, *rest])
    return graph


def shift_blank(graph: Any, penalty: float) -> Any:
    """Return a graph whose blank is less probable by `penalty` nats than before, or the same if it has no logits."""
    onnx = require_onnx()
    graph = _copied(onnx, graph)
    for bias in graph.graph.initializer:
        if bias.name == "blank_bias":
            values = onnx.numpy_helper.to_array(bias).copy()
            values[-1] -= penalty
            bias.CopyFrom(onnx.numpy_helper.from_array(values, "blank_bias"))
    return graph


def _rewritten(onnx: Any, graph: Any) -> Any:
    """Return a copy in which Gemm is MatMul and Add, as the quantizer would make it: names are then known before."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    model = ONNXModel(_copied(onnx, graph))
    model.replace_gemm_with_matmul()
    return model.model


def _copied(onnx: Any, graph: Any) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    return copy
