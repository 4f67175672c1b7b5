"""The setting `precision`: its effect on a GPU and on a CPU, and the loss scale of float16."""

import pytest
import torch

from rnnt import device as devices

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SWITCHES = (torch.backends.cuda.matmul, torch.backends.cudnn.rnn, torch.backends.cudnn.conv)


@pytest.fixture
def switches():
    before = [switch.fp32_precision for switch in SWITCHES]
    yield lambda: [switch.fp32_precision for switch in SWITCHES]
    for switch, value in zip(SWITCHES, before):
        switch.fp32_precision = value


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "tf32"])
def test_float32_products_are_rounded_on_a_gpu_only_for_tf32(switches, name):
    assert devices.set_precision(name, GPU) == []
    assert switches() == ["tf32" if name == "tf32" else "ieee"] * 3


@pytest.mark.parametrize(("name", "rounding"), [("tf32", "tf32"), ("float32", "ieee"), ("bfloat16", "ieee")])
def test_float32_products_last_as_long_as_the_with(switches, name, rounding):
    devices.set_precision("float32" if name == "tf32" else "tf32", GPU)
    before = switches()
    with pytest.raises(KeyError), devices.float32_products(name, GPU):
        assert switches() == [rounding] * 3 != before
        raise KeyError
    with devices.float32_products(name, CPU):
        assert switches() == before
    assert switches() == before


def test_a_cpu_says_what_it_lacks(monkeypatch):
    assert devices.set_precision("float32", CPU) == []
    assert devices.set_precision("tf32", CPU) == ["a CPU has no TF32: float32 is used"]
    monkeypatch.setattr(devices, "_cpu_has", lambda dtype: False)
    assert "float32 is used" in devices.set_precision("bfloat16", CPU)[0]
    with pytest.raises(ValueError, match="precision=float16 needs a GPU; on this CPU choose float32"):
        devices.set_precision("float16", CPU)
    monkeypatch.setattr(devices, "_cpu_has", lambda dtype: True)
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    for gains in (True, False):
        monkeypatch.setattr(devices, "cpu_gains_by_bfloat16", lambda gains=gains: gains)
        assert bool(devices.set_precision("bfloat16", CPU)) is not gains
    assert devices.set_precision("float16", CPU) == []


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "vendor", "gains"),
    [
        (True, True, "GenuineIntel", True),
        (False, True, "GenuineIntel", False),
        (False, True, "AuthenticAMD", True),
        (False, False, "AuthenticAMD", False),
    ],
)
def test_which_cpus_gain_by_bfloat16(monkeypatch, amx, avx512_bf16, vendor, gains):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(devices, "_processor", lambda: f"vendor_id : {vendor}")
    assert devices.cpu_gains_by_bfloat16.__wrapped__() is gains


@pytest.mark.parametrize(
    ("name", "has", "expected"),
    [
        ("float32", True, torch.float32),
        ("tf32", True, torch.float32),
        ("bfloat16", True, torch.bfloat16),
        ("bfloat16", False, torch.float32),
        ("float16", True, torch.float16),
        ("float16", False, torch.float32),
    ],
)
def test_matrix_products_are_in_the_type_that_the_cpu_has(monkeypatch, name, has, expected):
    monkeypatch.setattr(devices, "_cpu_has", lambda dtype: has)
    with devices.autocast(name, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_what_the_cpu_has_is_found_by_trying():
    for dtype in (torch.bfloat16, torch.float16):
        before = torch.random.get_rng_state()
        try:
            with torch.autocast("cpu", dtype):
                torch.nn.LSTM(8, 8)(torch.zeros(1, 1, 8))
            runs = True
        except RuntimeError:
            runs = False
        torch.random.set_rng_state(before)
        assert devices._cpu_has(dtype) is runs
        assert torch.equal(torch.random.get_rng_state(), before)


def test_devices_are_found_or_named(monkeypatch):
    assert devices.find_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="device is 'gpu'; choose auto, cpu, cuda or cuda:1"):
        devices.find_device("gpu")
    with pytest.raises(ValueError, match="device is 'meta'; choose auto, cpu, cuda or cuda:1"):
        devices.find_device("meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.find_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="device is 'cuda', but PyTorch finds no such GPU here"):
        devices.find_device("cuda")
