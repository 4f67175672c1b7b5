"""Torch modules -> ONNX files."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

OPSET = 17  # the newest that the exporter of TorchScript knows


def require_onnx() -> Any:
    """Import and return onnx. Raises ValueError if it or onnxruntime is missing."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ValueError(f"exporting needs {error.name}; install it with: pip install 'rnnt[export]'") from None
    return onnx


def trace(
    module: nn.Module,
    example: Sequence[torch.Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    metadata: Mapping[str, object],
) -> Any:
    """Return a module's forward pass as an onnx.ModelProto.

    axes: names of the dimensions that vary, of each input and output. metadata: entries of the model's own.
    """
    onnx = require_onnx()
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the tracer: sizes are traced, which the self-check proves
        torch.onnx.export(
            module.eval(),
            tuple(example),
            file,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(of) for name, of in axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(file.getvalue())
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, str(value)
    return model
