"""Schedules against a loop that multiplies epoch by epoch, and their edges."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnt.training.schedule import cosine, warmup_hold_decay

MLPERF = {"lr": 0.004, "warmup": 6, "hold": 40, "decay": 0.935, "minimum": 1e-5}


def test_mlperf_epochs():
    rates, lr = [], MLPERF["lr"]
    for epoch in range(1, 121):  # counted from 1, as the reference does
        if epoch > 46:
            lr *= 0.935
        rates.append(max(lr, 1e-5))
    for epoch in range(6, 120):
        for part in (0.0, 0.3, 0.999):
            assert warmup_hold_decay(epoch + part, **MLPERF) == pytest.approx(rates[epoch], rel=1e-12)
    assert warmup_hold_decay(500.0, **MLPERF) == 1e-5


def test_every_step_of_an_epoch_takes_one_rate_of_the_stairs():
    steps = 733  # an odd number of steps an epoch: progress is step / steps in floating point
    for epoch in (46, 47, 59, 83):
        rates = {warmup_hold_decay(step / steps, **MLPERF) for step in range(epoch * steps, (epoch + 1) * steps)}
        assert rates == {0.004 * 0.935 ** (epoch - 45)}


def test_warmup_rises_by_the_step():
    assert warmup_hold_decay(0.0, **MLPERF) == 1e-5
    assert warmup_hold_decay(3.0, **MLPERF) == pytest.approx(0.002)
    rates = [warmup_hold_decay(step / 100, **MLPERF) for step in range(10, 600)]
    steps = [b - a for a, b in pairwise(rates)]
    assert steps == pytest.approx([0.004 / 600] * len(steps))


def test_without_warmup_and_hold():
    assert warmup_hold_decay(0.0, 1.0, 0, 0, 0.5, 0.0) == 0.5
    assert warmup_hold_decay(0.0, 1.0, 0, 2, 0.5, 0.0) == 1.0
    assert warmup_hold_decay(2.0, 1.0, 0.5, 1.5, 0.5, 0.0) == 0.5
    assert warmup_hold_decay(9.0, 1.0, 0, 0, 1.0, 0.0) == 1.0


def test_cosine_points():
    assert cosine(0.0, 1.0, 0, 10, 0.1) == 1.0
    assert cosine(5.0, 1.0, 0, 10, 0.1) == pytest.approx(0.55)
    assert cosine(10.0, 1.0, 0, 10, 0.1) == cosine(11.0, 1.0, 0, 10, 0.1) == 0.1
    assert cosine(1.0, 1.0, 2, 10, 0.1) == 0.5
    assert cosine(2.0, 1.0, 2, 10, 0.1) == 1.0
    assert cosine(4.0, 1.0, 2, 10, 0.0) == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_cosine_of_a_run_shorter_than_its_warmup():
    assert cosine(1.0, 1.0, 4, 2, 0.1) == 0.25
    assert cosine(0.0, 1.0, 0, 0, 0.1) == 0.1


@given(
    epoch=st.floats(0, 200),
    further=st.floats(0, 50),
    warmup=st.floats(0, 10),
    length=st.floats(0, 60),
    minimum=st.floats(0, 0.5),
)
def test_bounds_and_monotony(epoch, further, warmup, length, minimum):
    def hold(at):
        return warmup_hold_decay(at, 1.0, warmup, length, 0.9, minimum)

    def wave(at):
        return cosine(at, 1.0, warmup, warmup + length, minimum)

    for rate in (hold, wave):
        assert minimum <= rate(epoch) <= 1.0
        if epoch >= warmup:
            assert rate(epoch + further) <= rate(epoch) + 1e-12
        elif epoch + further < warmup:
            assert rate(epoch + further) >= rate(epoch)
