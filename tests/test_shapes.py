"""Modules made for their shapes alone have those of real ones, and take no memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from rnnt.recognizer import Recognizer
from rnnt.shapes import shapes_only

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("kind", ["lstm", "conformer"])
def test_shapes_are_those_of_a_real_model(make, kind):
    settings = {"conformer": {"layers": 1, "width": 16, "heads": 2}} if kind == "conformer" else {"hidden": 16}
    real = make(model={"encoder": {"kind": kind, **settings}, "init_scale": 1.0})
    with shapes_only():
        found = Recognizer(real.config, real.tokenizer)
    assert all(parameter.is_meta for parameter in found.parameters())
    expected = {name: (value.shape, value.dtype) for name, value in real.state_dict().items()}
    assert {name: (value.shape, value.dtype) for name, value in found.state_dict().items()} == expected


def test_initial_values_are_left_out_with_any_arguments():
    with shapes_only():
        tensor = torch.empty(1 << 40)
        assert nn.init.normal_(tensor) is tensor
        assert nn.init.uniform_(tensor=tensor, a=1.0) is tensor
        assert nn.LSTM(1 << 20, 1 << 20).weight_ih_l0.shape == (1 << 22, 1 << 20)


@pytest.mark.parametrize(
    "use", ["rnnt.load(sys.argv[1])", "describe(Path('small')), describe(Path('conformer-small'))"]
)
def test_no_compiler_is_imported(use):
    code = f"import sys, rnnt; from pathlib import Path; from rnnt.info import describe; {use}; "
    code += "print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, GOLDEN / "model"], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
