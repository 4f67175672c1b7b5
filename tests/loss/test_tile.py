"""The operations on a tile against formulas written out node by node, and against autograd."""

import inspect
import itertools
from importlib import import_module

import pytest
import torch

from rnnt.loss import tile
from rnnt.loss.tile import Dropout, Operations

FRAMES, COLUMNS, WIDTH = 4, 3, 5  # T, U+1 and H of each of two utterances
ACTIVATIONS = {"relu": lambda x: x.clamp(min=0), "tanh": torch.tanh, "identity": lambda x: x}


def normal(*shape, seed, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def places(count):
    """Rows and columns of some nodes, in any order, some of them more than once."""
    node = torch.randint(0, 2 * FRAMES * COLUMNS, (count,), generator=torch.Generator().manual_seed(1))
    row = node // COLUMNS
    return row, row // FRAMES * COLUMNS + node % COLUMNS


def masks(rate):
    torch.manual_seed(3)
    return Dropout.draw(rate, 2 * FRAMES, 2 * COLUMNS, WIDTH, torch.device("cpu")) if rate else None


def kept(dropout, row, column):
    """1 for each unit that is kept, by Python's integers: their sum, reduced to 16 bits, reaches the threshold."""
    result = torch.ones(len(row), WIDTH, dtype=torch.float64)
    for r, (i, j) in enumerate(zip(row.tolist(), column.tolist())):
        for h in range(WIDTH):
            bits = dropout.rows[i, h].item() + dropout.columns[j, h].item()
            result[r, h] = (bits + 2**15) % 2**16 - 2**15 >= dropout.threshold
    return result


def hidden_by_hand(rows, columns, row, column, activation, dropout):
    x = torch.stack([rows[i] + columns[j] for i, j in zip(row.tolist(), column.tolist())])
    x = ACTIVATIONS[activation](x)
    return x * kept(dropout, row, column) if dropout else x


CASES = [(name, rate) for name in ACTIVATIONS for rate in (0, 0.4) if not (name == "identity" and rate)]


@pytest.mark.parametrize(("activation", "rate"), CASES)
def test_hidden(activation, rate):
    rows, columns = normal(2 * FRAMES, WIDTH, seed=4), normal(2 * COLUMNS, WIDTH, seed=5)
    copies = rows.clone(), columns.clone()
    nodes = places(30)
    value = tile.hidden(rows, columns, *nodes, activation, masks(rate))
    torch.testing.assert_close(value, hidden_by_hand(rows, columns, *nodes, activation, masks(rate)), rtol=0, atol=0)
    assert torch.equal(rows, copies[0]) and torch.equal(columns, copies[1])


@pytest.mark.parametrize(("activation", "rate"), CASES)
def test_add_hidden_gradient_adds_autograds_gradient(activation, rate):
    rows = normal(2 * FRAMES, WIDTH, seed=4).requires_grad_()
    columns = normal(2 * COLUMNS, WIDTH, seed=5).requires_grad_()
    nodes = places(30)
    hidden = hidden_by_hand(rows, columns, *nodes, activation, masks(rate))
    grad = normal(30, WIDTH, seed=6)
    expected = torch.autograd.grad(hidden, (rows, columns), grad)
    before = normal(2 * FRAMES, WIDTH, seed=7), normal(2 * COLUMNS, WIDTH, seed=8)
    sums = [x.clone() for x in before]
    tile.add_hidden_gradient(grad, hidden.detach(), *nodes, activation, masks(rate), *sums)
    for value, start, gradient in zip(sums, before, expected):
        torch.testing.assert_close(value, start + gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("blank", [0, 3])
def test_log_probs(blank):
    logits, label = normal(6, 4, seed=9), torch.tensor([0, 1, 2, 3, 1, 2])
    blank_logp, label_logp = tile.log_probs(logits, label, blank)
    for r in range(6):
        total = logits[r].exp().sum().log()
        torch.testing.assert_close(blank_logp[r], logits[r, blank] - total, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(label_logp[r], logits[r, label[r]] - total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("blank", [0, 3])
def test_logit_gradient_is_autograds(blank):
    logits, label = normal(6, 4, seed=9).requires_grad_(), torch.tensor([0, 1, 2, 3, 1, 2])
    g_blank, g_label = normal(2, 6, seed=10).abs()
    log_probs = logits - logits.exp().sum(1, keepdim=True).log()
    weighted = -(g_blank * log_probs[:, blank]).sum() - (g_label * log_probs[torch.arange(6), label]).sum()
    (expected,) = torch.autograd.grad(weighted, logits)
    value = tile.logit_gradient(logits.detach(), g_blank, g_label, label, blank)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_narrow_logits_are_normalized_in_float32(dtype):
    logits, label = normal(6, 500, seed=11, dtype=dtype), torch.arange(6)
    weights = normal(2, 6, seed=12, dtype=torch.float32).abs()
    values = *tile.log_probs(logits, label, 499), tile.logit_gradient(logits, *weights, label, 499)
    expected = (
        *tile.log_probs(logits.double(), label, 499),
        tile.logit_gradient(logits.double(), *weights.double(), label, 499),
    )
    for value, reference in zip(values, expected):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rate", [0.0001, 0.1, 0.3, 0.5, 0.999999])
def test_dropout_keeps_units_at_its_rate_and_independently(rate):
    torch.manual_seed(0)
    dropout = Dropout.draw(rate, 60, 50, 64, torch.device("cpu"))
    row, column = (torch.tensor(x) for x in zip(*itertools.product(range(60), range(50))))
    mask = dropout(torch.ones(3000, 64), row, column).view(60, 50, 64)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert torch.equal(dropout(torch.ones(3000, 64, dtype=dtype), row, column).view(60, 50, 64).float(), mask)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert abs(dropout.keep - (1 - rate)) < 2e-5
    deviation = (dropout.keep * (1 - dropout.keep)) ** 0.5
    assert abs(mask.mean() - dropout.keep) < 5 * deviation / mask.numel() ** 0.5
    # Any two nodes are independent: neighbours in time, neighbours in labels, and the units of one node.
    for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1]), (mask[..., 1:], mask[..., :-1])):
        together = float((one * other).mean())
        assert abs(together - dropout.keep**2) < 6 * dropout.keep * deviation / 40**0.5 / 50**0.5 + 1e-9


def signature(function):
    return [(x.name, x.default) for x in inspect.signature(function).parameters.values() if x.name != "self"]


@pytest.mark.parametrize("module", ["tile", "kernels"])
def test_the_module_has_the_declared_operations(module):
    if module == "kernels":
        pytest.importorskip("triton", reason="no triton: pip install 'rnnt[triton]' on Linux")
    implementation = import_module(f"rnnt.loss.{module}")
    declared = {name: value for name, value in vars(Operations).items() if inspect.isfunction(value) and name[0] != "_"}
    assert set(declared) == {"hidden", "add_hidden_gradient", "log_probs", "logit_gradient", "forward_backward"}
    for name, operation in declared.items():
        assert signature(getattr(implementation, name)) == signature(operation), name
