"""LAMB against a plain implementation in numpy; AdamW and steepest descent against torch's with its own clipping."""

import io

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import rnnt.training.optimizer as lamb_and_adamw
from rnnt.training.optimizer import ClippedAdamW, Lamb, global_norm, make_optimizer

SHAPES = [(4, 3), (1,), (), (2, 3, 5), (7,)]


class PlainLamb:
    """Algorithm 2 of arXiv 1904.00962 with bias correction, tensor by tensor, one line for each formula."""

    def __init__(self, groups, max_grad_norm):
        self.groups, self.max_grad_norm, self.k = groups, max_grad_norm, 0
        self.m = [[np.zeros_like(p) for p in group["params"]] for group in groups]
        self.v = [[np.zeros_like(p) for p in group["params"]] for group in groups]

    def step(self, grads):
        self.k += 1
        norm = np.sqrt(sum((g**2).sum() for group in grads for g in group))
        divisor = 1 if self.max_grad_norm is None else max(1, norm / self.max_grad_norm)
        for i, group in enumerate(self.groups):
            b1, b2 = group["betas"]
            for j, p in enumerate(group["params"]):
                g = grads[i][j] / divisor
                self.m[i][j] = b1 * self.m[i][j] + (1 - b1) * g
                self.v[i][j] = b2 * self.v[i][j] + (1 - b2) * g * g
                m_hat = self.m[i][j] / (1 - b1**self.k)
                v_hat = self.v[i][j] / (1 - b2**self.k)
                update = m_hat / (np.sqrt(v_hat) + group["eps"]) + group["weight_decay"] * p
                p_norm, u_norm = np.sqrt((p**2).sum()), np.sqrt((update**2).sum())
                ratio = p_norm / u_norm if p_norm > 0 and u_norm > 0 else 1
                group["params"][j] = p - group["lr"] * ratio * update
        return norm


def groups_of(dtype):
    rng = np.random.default_rng(0)
    arrays = [np.asarray(rng.normal(size=shape)) for shape in SHAPES]
    arrays.append(np.zeros((3, 2)))  # |p| = 0 at first: the ratio is 1
    settings = [
        {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-9, "weight_decay": 1e-3},
        {"lr": 0.003, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.0},
    ]
    numpy_groups = [{**s, "params": list(arrays[i::2])} for i, s in enumerate(settings)]
    tensors = [torch.tensor(a, dtype=dtype) for a in arrays]
    tensors[0] = tensors[0].t().contiguous().t()  # not contiguous
    torch_groups = [{**s, "params": [x.requires_grad_() for x in tensors[i::2]]} for i, s in enumerate(settings)]
    return numpy_groups, torch_groups


def gradients(step, numpy_groups, scale):
    rng = np.random.default_rng(step + 1)
    grads = [[np.asarray(scale * rng.normal(size=np.shape(p))) for p in group["params"]] for group in numpy_groups]
    grads[1][0] *= step >= 5  # no gradient and no decay: |update| = 0 while |p| > 0
    grads[1][-1] *= step >= 7  # |update| = 0 and |p| = 0
    grads[0][1] *= step % 3 != 0
    return grads


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize(
    ("max_grad_norm", "scale", "clips"),
    [(1.0, 1.0, {True}), (1.0, 0.01, {False}), (1.0, 0.05, {True, False}), (None, 1.0, {False})],
)
@pytest.mark.parametrize("size", [4, 2**18, None])
def test_lamb_equals_plain_implementation_step_by_step(
    size, dtype, tolerance, max_grad_norm, scale, clips, monkeypatch
):
    monkeypatch.setattr(lamb_and_adamw, "_SLICE", {} if size is None else {"cpu": size})  # None: no slices, as on a GPU
    numpy_groups, torch_groups = groups_of(dtype)
    plain = PlainLamb(numpy_groups, max_grad_norm)
    lamb = Lamb(torch_groups, lr=0.5, max_grad_norm=max_grad_norm)
    clipped = set()
    for step in range(50):
        for groups in (numpy_groups, lamb.param_groups):
            groups[0]["lr"] = 0.01 * (1 + step % 7)  # as a schedule does
        grads = gradients(step, numpy_groups, scale * (1 + step / 10))
        for group, group_grads in zip(lamb.param_groups, grads):
            for p, g in zip(group["params"], group_grads):
                p.grad = torch.tensor(g, dtype=dtype)
        norm = plain.step(grads)
        lamb.step()
        clipped.add(max_grad_norm is not None and norm > max_grad_norm)
        for group, numpy_group in zip(lamb.param_groups, numpy_groups):
            for p, expected in zip(group["params"], numpy_group["params"]):
                np.testing.assert_allclose(p.detach().numpy(), expected, rtol=tolerance, atol=tolerance)
    assert clipped == clips


def test_lamb_leaves_gradients_unchanged_and_skips_parameters_without_one():
    with_grad, without = (torch.ones(3, requires_grad=True) for _ in range(2))
    with_grad.grad = torch.full((3,), 100.0)
    lamb = Lamb([with_grad, without], lr=0.1)
    lamb.step()
    assert torch.equal(with_grad.grad, torch.full((3,), 100.0))
    assert torch.equal(without, torch.ones(3)) and without not in lamb.state
    assert not torch.equal(with_grad, torch.ones(3))
    # When it gets a gradient later, its bias correction begins with its own first step.
    without.grad = torch.ones(3)
    lamb.step()
    assert lamb.state[with_grad]["step"] == 2 and lamb.state[without]["step"] == 1


def test_without_any_gradient_a_step_changes_nothing():
    p = torch.ones(3, requires_grad=True)
    for name in ("lamb", "adamw"):
        optimizer = make_optimizer([p], name, lr=0.1)
        optimizer.step()
        assert torch.equal(p, torch.ones(3)) and not optimizer.state


def run_steps(optimizer, params, first, last):
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("name", ["lamb", "adamw", "sgd"])
def test_state_round_trips_bit_for_bit(name):
    torch.manual_seed(0)
    initial = [torch.randn(shape) for shape in SHAPES]

    def start(values):
        params = [value.clone().requires_grad_() for value in values]
        return params, make_optimizer(params, name, lr=0.01)

    params, optimizer = start(initial)
    run_steps(optimizer, params, 0, 10)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "params": [p.detach() for p in params]}, file)
    run_steps(optimizer, params, 10, 20)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed_params, resumed = start(saved["params"])
    resumed.load_state_dict(saved["optimizer"])
    run_steps(resumed, resumed_params, 10, 20)
    assert all(torch.equal(a, b) for a, b in zip(params, resumed_params))


@pytest.mark.parametrize("max_grad_norm", [0.5, 1e6, None])
def test_adamw_equals_torch_with_clip_grad_norm(max_grad_norm):
    torch.manual_seed(0)
    ours = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in SHAPES]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    optimizer = make_optimizer(ours, "adamw", 0.01, (0.9, 0.98), 1e-8, 0.1, max_grad_norm)
    expected = torch.optim.AdamW(theirs, 0.01, (0.9, 0.98), 1e-8, 0.1, foreach=False)
    assert isinstance(optimizer, ClippedAdamW)
    for step in range(20):
        grads = [torch.randn_like(p) * (step + 1) for p in ours]
        for p, q, g in zip(ours, theirs, grads):
            p.grad, q.grad = g.clone(), g.clone()
        torch.nn.utils.clip_grad_norm_(theirs, max_grad_norm or float("inf"))
        optimizer.step()
        expected.step()
        for p, q in zip(ours, theirs):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)  # clip_grad_norm_ adds 1e-6 to the norm


@pytest.mark.parametrize("max_grad_norm", [0.5, 1e6, None])
def test_steepest_descent_equals_torch_with_clip_grad_norm(max_grad_norm):
    torch.manual_seed(0)
    ours = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in SHAPES]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    optimizer = make_optimizer(ours, "sgd", 0.01, weight_decay=0.1, max_grad_norm=max_grad_norm, momentum=0.8)
    expected = torch.optim.SGD(theirs, 0.01, momentum=0.8, weight_decay=0.1)
    for step in range(20):
        for p, q in zip(ours, theirs):
            p.grad = torch.randn_like(p) * (step + 1)
            q.grad = p.grad.clone()
        torch.nn.utils.clip_grad_norm_(theirs, max_grad_norm or float("inf"))
        optimizer.step()
        expected.step()
        for p, q in zip(ours, theirs):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)  # clip_grad_norm_ adds 1e-6 to the norm


def test_momentum_remembers_changes_not_gradients():
    """A new learning rate does not scale the changes before it."""
    p = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer([p], "sgd", 1.0, weight_decay=0.0, max_grad_norm=None, momentum=0.5)
    places = []
    for lr in (1.0, 0.0, 0.0):
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.ones_like(p)
        optimizer.step()
        places.append(p.item())
    assert places == [-1.0, -1.5, -1.75]


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("name", ["lamb", "adamw", "sgd"])
def test_a_norm_that_the_caller_gives_is_used(name, enabled):
    """The trainer computes the norm anyway, and passes it through torch's GradScaler."""
    results = []
    for factor in (1, 3):  # a norm three times as large divides the gradients by three times as much
        param = torch.arange(1.0, 5.0).requires_grad_()
        optimizer = make_optimizer([param], name, lr=0.1, eps=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=enabled)
        scaler.scale((param.detach() * param).sum()).backward()
        scaler.unscale_(optimizer)
        torch.testing.assert_close(param.grad, torch.arange(1.0, 5.0))
        scaler.step(optimizer, grad_norm=factor * global_norm([param]))
        results.append(param.detach())

        expected = torch.arange(1.0, 5.0).requires_grad_()
        expected.grad = torch.arange(1.0, 5.0) / (factor * 30**0.5)
        make_optimizer([expected], name, lr=0.1, eps=1.0, max_grad_norm=None).step()
        torch.testing.assert_close(results[-1], expected.detach())
    assert not torch.allclose(*results)


def test_the_global_norm_is_that_of_all_gradients_together():
    params = [torch.ones(shape, requires_grad=True) for shape in [(2,), (), (1, 2), (4,)]]
    for param, grad in zip(params, ([1.0, 2.0], 2.0, [[4.0, 0.0]])):
        param.grad = torch.tensor(grad)
    assert global_norm(params).item() == 5.0
    assert global_norm(params[3:]).item() == 0.0


@pytest.mark.parametrize("name", ["lamb", "adamw", "sgd"])
def test_lowers_a_loss_to_that_of_the_exact_solution(name):
    torch.manual_seed(0)
    x, y = torch.randn(64, 5), torch.randn(64, 1)
    model = torch.nn.Linear(5, 1)
    optimizer = make_optimizer(model.parameters(), name, lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(64, 1)], 1), y).solution
    best = (torch.cat([x, torch.ones(64, 1)], 1) @ solution - y).square().mean().item()
    assert losses[-1] < best + 0.05 < losses[0]


def test_lamb_does_not_wait_for_the_device():
    """Only reading a number from a tensor would wait. The dispatcher sees this on any device."""

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            assert "_local_scalar_dense" not in str(function)
            return function(*args, **(kwargs or {}))

    params = [torch.randn(shape).requires_grad_() for shape in SHAPES]
    lamb = Lamb(params, lr=0.1)
    with Watch():
        run_steps(lamb, params, 0, 2)


def test_the_norm_of_a_gradient_that_is_not_finite_is_not_finite():
    p, q = (torch.ones(2, requires_grad=True) for _ in range(2))
    p.grad, q.grad = torch.tensor([1.0, float("inf")]), torch.ones(2)
    assert global_norm([p, q]).isinf()
    p.grad[1] = float("nan")
    assert global_norm([p, q]).isnan()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adam"}, "unknown optimizer 'adam': use one of adamw, lamb, sgd"),
        ({"name": "sgd", "momentum": 1.0}, "momentum is 1.0"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"betas": (0.9, 1.0)}, "betas are"),
        ({"betas": (0.9,)}, "betas are"),
        ({"eps": -1e-9}, "eps is"),
        ({"weight_decay": -1}, "weight_decay is"),
        ({"max_grad_norm": 0}, "max_grad_norm is 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    given = {"name": "lamb", "lr": 0.1, **settings}
    with pytest.raises(ValueError, match=message):
        make_optimizer([torch.ones(1, requires_grad=True)], **given)
