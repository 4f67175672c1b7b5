"""Torch modules as ONNX files."""

import sys

import pytest
import torch

from rnnt.export.onnx_file import require_onnx, trace
from rnnt.export.runtime import open_session


def test_dimensions_vary_and_metadata_is_there():
    axes = {"x": {0: "B"}, "y": {0: "B"}}
    model = trace(torch.nn.Linear(3, 2), [torch.zeros(2, 3)], ["x"], ["y"], axes, {"rate": 16000})
    session = open_session(model.SerializeToString())
    assert session.run(None, {"x": torch.zeros(5, 3).numpy()})[0].shape == (5, 2)
    assert session.get_modelmeta().custom_metadata_map == {"rate": "16000"}


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"install it with: pip install 'rnnt\[export\]'"):
        require_onnx()
