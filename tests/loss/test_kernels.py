"""The Triton kernels against the same operations in torch, on a GPU, or in Triton's interpreter if there is none.

That they compile for a GPU is tested without one, too.
"""

import os
import subprocess
import sys

import pytest
import torch

triton = pytest.importorskip("triton", reason="no triton: pip install 'rnnt[triton]' on Linux")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if INTERPRETED and tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7):
    pytest.skip("the interpreter of Triton before 3.7 fails under NumPy 2.4", allow_module_level=True)

from rnnt import transducer_loss  # noqa: E402
from rnnt.loss import Penalties, kernels, lattice, scores, tile  # noqa: E402
from rnnt.loss.arguments import check_joint  # noqa: E402

DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
ACTIVATIONS = ["relu", "tanh", "identity"]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
FRAMES, WIDTH = 3, 4  # T and U+1 of the lattices of two utterances

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton", "ignore::UserWarning:triton")


@pytest.fixture(params=[4096, 64], ids=["one block", "several blocks"])
def elements(request, monkeypatch):
    """Makes a program's block so large that it holds every row, or so small that it holds none."""
    monkeypatch.setattr(kernels, "_BLOCK_ELEMENTS", request.param)


def normal(*shape, seed, dtype):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(DEVICE, dtype)


def places(count, seed=0):
    """Rows and columns of some nodes, sorted, with gaps and repetitions."""
    generator = torch.Generator().manual_seed(seed)
    node = torch.randint(0, 2 * FRAMES * WIDTH, (count,), generator=generator).sort()[0].to(DEVICE)
    row = node // WIDTH
    return row, row // FRAMES * WIDTH + node % WIDTH


def dropout(rate, width):
    if not rate:
        return None
    torch.manual_seed(3)
    masks = tile.Dropout.draw(rate, 2 * FRAMES, 2 * WIDTH, width, DEVICE)
    masks.rows[:, 0], masks.columns[:, 0] = masks.threshold, 0  # exactly at the threshold: kept
    return masks


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rate", [0, 0.4])
def test_hidden(dtype, activation, rate, width=5, count=77):
    rows, columns = normal(2 * FRAMES, width, seed=1, dtype=dtype), normal(2 * WIDTH, width, seed=2, dtype=dtype)
    row, column = places(count)
    masks = dropout(rate, width)
    value = kernels.hidden(rows, columns, row, column, activation, masks)
    expected = tile.hidden(rows.double(), columns.double(), row, column, activation, None)
    if rate:
        bits = masks.rows[row].int() + masks.columns[column].int()
        expected[(bits + 2**15) % 2**16 - 2**15 < masks.threshold] = 0
    assert value.dtype == dtype
    assert torch.equal(value == 0, expected == 0)
    error = torch.finfo(dtype).eps
    torch.testing.assert_close(value.double(), expected, rtol=error, atol=4 * error)


@pytest.mark.parametrize(("width", "count"), [(1, 1), (1, 65), (100, 3)])
def test_hidden_of_odd_sizes(elements, width, count):
    test_hidden(torch.float32, "relu", 0.4, width, count)


def test_hidden_of_columns_that_are_not_contiguous():
    rows, columns = (
        normal(2 * FRAMES, 4, seed=1, dtype=torch.float32),
        normal(4, 2 * WIDTH, seed=2, dtype=torch.float32),
    )
    value = kernels.hidden(rows, columns.t(), *places(5), "relu", None)
    assert torch.equal(value, tile.hidden(rows, columns.t(), *places(5), "relu", None))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_and_infinities_pass_through_hidden(activation):
    rows = torch.tensor([[torch.nan, torch.inf, -torch.inf, 0.0]], device=DEVICE)
    zero = torch.zeros(1, dtype=torch.long, device=DEVICE)
    value = kernels.hidden(rows, torch.zeros_like(rows), zero, zero, activation, None)
    expected = tile.hidden(rows, torch.zeros_like(rows), zero, zero, activation, None)
    torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rate", [0, 0.4])
def test_add_hidden_gradient(dtype, activation, rate, width=5, count=20):
    grad, hidden = normal(count, width, seed=1, dtype=dtype), normal(count, width, seed=2, dtype=dtype).tanh()
    row, column = places(count)
    wide = torch.promote_types(dtype, torch.float32)
    sums = [normal(size, width, seed=3, dtype=wide) for size in (2 * FRAMES, 2 * WIDTH)]
    expected = [x.to(torch.float64, copy=True) for x in sums]
    masks = dropout(rate, width)
    tile.add_hidden_gradient(grad.double(), hidden.double(), row, column, activation, masks, *expected)
    kernels.add_hidden_gradient(grad, hidden, row, column, activation, masks, *sums)
    error = 10 * torch.finfo(wide).eps
    for value, reference in zip(sums, expected):
        torch.testing.assert_close(value.double(), reference, rtol=error, atol=error)


@pytest.mark.parametrize(("width", "count"), [(1, 1), (9, 80), (3, 0)])
def test_add_hidden_gradient_of_odd_sizes(elements, monkeypatch, width, count):
    monkeypatch.setattr(kernels, "_MAX_PROGRAMS", 3)
    test_add_hidden_gradient(torch.float32, "tanh", 0.4, width, count)


def logits(count, vocabulary, dtype):
    """Logits of which some rows have symbols of probability zero: all but the last one, or the first ones."""
    x = normal(count, vocabulary, seed=4, dtype=dtype) * 3
    label = torch.arange(count, device=DEVICE) * 7 % vocabulary
    x[1::4, : vocabulary - 1] = -torch.inf
    x[2::4] -= 1e4
    x[2::4, : min(70, vocabulary // 2)] = -torch.inf
    return x, label


SIZES = [(1, 2, 1), (5, 2, 0), (67, 5, 4), (6, 150, 20)]  # nodes, symbols, blank


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("count", "vocabulary", "blank"), SIZES)
def test_log_probs(elements, dtype, count, vocabulary, blank):
    x, label = logits(count, vocabulary, dtype)
    x[3::5] = torch.nan
    values = kernels.log_probs(x, label, blank)
    for value, expected in zip(values, tile.log_probs(x.double(), label, blank)):
        assert value.dtype == torch.promote_types(dtype, torch.float32)
        error = 32 * torch.finfo(value.dtype).eps
        torch.testing.assert_close(value.double(), expected, rtol=error, atol=error, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("count", "vocabulary", "blank"), SIZES)
def test_logit_gradient(elements, dtype, count, vocabulary, blank):
    x, label = logits(count, vocabulary, dtype)
    weights = normal(2, count, seed=5, dtype=torch.promote_types(dtype, torch.float32)).abs()
    expected = tile.logit_gradient(x.double(), *weights.double(), label, blank)
    value = kernels.logit_gradient(x, *weights, label, blank)
    assert value.dtype == dtype and value.data_ptr() == x.data_ptr()
    error = torch.finfo(dtype).eps + 32 * torch.finfo(weights.dtype).eps
    torch.testing.assert_close(value.double(), expected, rtol=error, atol=error)


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float64, 1e4), (torch.float32, 1.0)], ids=str)
def test_forward_backward(dtype, scale):
    sizes = [(1, 0), (4, 2), (2, 4), (1, 3)]
    blank, label = -scale * normal(2, len(sizes), 4, 5, seed=6, dtype=dtype).abs()
    for i, (frames, labels) in enumerate(sizes):
        for x in (blank, label):
            x[i, frames:] = torch.nan
            x[i, :, labels + 1 :] = torch.inf
        label[i, :, labels] = torch.nan  # labels after the last symbol
        blank[i, frames - 1, :labels] = torch.nan  # blanks of the last frame before the last symbol
    frames, labels = torch.tensor(sizes, device=DEVICE).T
    values = kernels.forward_backward(blank, label, frames, labels)
    for value, expected in zip(values, lattice.forward_backward(blank, label, frames, labels)):
        assert value.dtype == dtype
        error = 1e-9 if dtype == torch.float64 else 1e-6
        torch.testing.assert_close(value, expected, rtol=error, atol=error)


def test_an_impossible_utterance_leaves_the_others_alone():
    blank, label = -normal(2, 5, 2, 2, seed=7, dtype=torch.float32).abs()
    frames, labels = torch.full((5,), 2, device=DEVICE), torch.ones(5, dtype=torch.long, device=DEVICE)
    alone = kernels.forward_backward(blank[4:], label[4:], frames[4:], labels[4:])
    blank[0, 1, 1] = -torch.inf  # the last blank of every alignment
    label[1, :, 0] = -torch.inf
    blank[2, 0, 1] = torch.nan
    label[3, 1, 0] = torch.inf
    log_p, *counts = kernels.forward_backward(blank, label, frames, labels)
    assert log_p[:2].tolist() == [-torch.inf, -torch.inf]
    assert torch.isnan(log_p[2]) and not torch.isfinite(log_p[3])
    for count in counts:
        assert torch.equal(count[:4], torch.zeros_like(count[:4]))
    for value, reference in zip((log_p, *counts), alone):
        assert torch.equal(value[4:], reference)


def problem(dtype, additive=False, width=5, vocabulary=5):
    """Inputs and targets of three utterances with NaN and inf as padding, and of a fourth that is not finite."""
    sizes = torch.tensor([(4, 2), (2, 3), (1, 0), (2, 1)])
    inputs = [normal(4, 4, width, seed=8, dtype=dtype), normal(4, 4, width, seed=9, dtype=dtype)]
    for i, (frames, labels) in enumerate(sizes.tolist()):
        inputs[0][i, frames:] = torch.nan
        inputs[1][i, labels + 1 :] = torch.inf
    inputs[0][3, 0, 0] = torch.nan
    weights = [normal(vocabulary, width, seed=10, dtype=dtype), normal(vocabulary, seed=11, dtype=dtype)]
    inputs += [None, None] if additive else weights
    for x in inputs:
        if x is not None:
            x.requires_grad_()
    targets = torch.tensor([[0, 3, 9], [2, 2, 1], [9, 9, 9], [1, 9, 9]])
    return inputs, targets, *sizes.T


@pytest.mark.parametrize(
    ("dtype", "additive", "settings"),
    [
        (torch.float64, False, {"dropout": 0.4, "fastemit": 0.1}),
        (torch.float64, False, {"activation": "tanh", "dropout": 0.4}),
        (torch.float64, True, {}),
        (torch.float64, False, {"penalties": Penalties(0.5, 2.0), "fastemit": 0.1}),
        (torch.float32, False, {"activation": "tanh"}),
    ],
    ids=str,
)
def test_the_loss_is_the_reference(dtype, additive, settings):
    inputs, *arguments = problem(dtype, additive)
    results = []
    for implementation in ("triton", "reference"):
        torch.manual_seed(0)
        asked = {"implementation": implementation, "reduction": "none", "tolerance": 0.0}
        losses = transducer_loss(*inputs, *arguments, **settings, **asked)
        grads = torch.autograd.grad(losses[:3].square().sum(), [x for x in inputs if x is not None])
        results.append((losses, *grads))
    assert results[0][0][3] == torch.inf
    error = 1e-11 if dtype == torch.float64 else 1e-5
    for value, expected in zip(*results):
        torch.testing.assert_close(value, expected, rtol=error, atol=error)


def test_the_tolerance_changes_the_gradient():
    inputs, *arguments = problem(torch.float64)
    grads = []
    for tolerance in (0.0, 0.1):
        losses = transducer_loss(*inputs, *arguments, reduction="none", tolerance=tolerance, implementation="triton")
        grads.append(torch.autograd.grad(losses[:3].sum(), inputs[0])[0])
    assert 0 < (grads[0] - grads[1]).abs().max() < 1


def test_the_error_says_what_to_choose_without_a_gpu(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    inputs, *arguments = problem(torch.float32)
    with pytest.raises(ValueError, match="triton runs on a GPU; the encoder's output is on cpu"):
        transducer_loss(*(x.cpu() for x in inputs), *arguments, implementation="triton")


COMPILE = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

class Hopper:  # the methods of a driver that Triton calls before it launches a kernel
    get_current_device = get_current_stream = lambda *_: 0
    get_current_target = lambda _: GPUTarget("cuda", 90, 32)

def compile_only(self, *arguments, grid, warmup, run=JITFunction.run, **options):
    assert run(self, *arguments, grid=grid, warmup=True, **options).asm["cubin"]
    print(self.__name__)

driver.set_active(Hopper())
JITFunction.run = compile_only
from rnnt.loss import kernels, tile

node = torch.zeros(100, dtype=torch.long)
weights = torch.zeros(100)
sums = torch.zeros(32, 512)
masks = tile.Dropout.draw(0.3, 32, 32, 512, "cpu")
for dtype, activation, vocabulary in ((torch.bfloat16, "relu", 1024), (torch.float32, "tanh", 5000)):
    rows = sums.to(dtype)
    hidden = kernels.hidden(rows, rows, node, node, activation, masks)
    kernels.add_hidden_gradient(hidden, hidden, node, node, activation, masks, sums, sums)
    logits = torch.zeros(100, vocabulary, dtype=dtype)
    kernels.log_probs(logits, node, 0)
    kernels.logit_gradient(logits, weights, weights, node, 0)
kernels.forward_backward(torch.zeros(2, 7, 121), torch.zeros(2, 7, 121), node[:2], node[:2])
"""


def test_auto_falls_back_to_torch_with_one_warning(monkeypatch):
    scores._triton_runs.cache_clear()
    assert scores._triton_runs(DEVICE)

    def no_compiler(*arguments):
        raise RuntimeError("Failed to find C compiler")

    scores._triton_runs.cache_clear()
    monkeypatch.setattr(kernels, "hidden", no_compiler)
    with pytest.warns(UserWarning, match="Failed to find C compiler.*computed in torch.*gcc and python3-dev"):
        assert not scores._triton_runs(DEVICE)
    assert not scores._triton_runs(DEVICE)  # without a second warning
    scores._triton_runs.cache_clear()


@pytest.mark.parametrize("additive", [False, True])
@torch.no_grad()
def test_the_scores_are_those_of_torch(additive):
    inputs, *arguments = problem(torch.float32, additive)
    lattices = check_joint(*inputs, *arguments, blank=-1, activation="tanh")
    activation = "identity" if additive else "tanh"
    values, expected = (
        scores.LatticeJoint(*inputs, scores.JointSettings(lattices, activation, None, torch.float32, module)).scores()
        for module in (kernels, tile)
    )
    for value, reference in zip(values, expected):
        torch.testing.assert_close(value, reference, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_every_kernel_compiles_for_a_gpu(tmp_path):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    compiled = ["_hidden", "_add_runs", "_add_runs", "_log_probs", "_logit_gradient"]
    assert done.stdout.split() == [*compiled, *compiled, "_sweep", "_count"]
