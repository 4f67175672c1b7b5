"""A run that is killed, at any moment and again and again, ends as if it had been left alone."""

import os
import random
import signal

import pytest

from rnnt.training import checkpoint

SETTINGS = (
    "augment.speed_min=0.9", "augment.speed_max=1.1", "augment.noise_probability=0.5", "augment.time_masks=2",
    "model.encoder.lstm.dropout=0.2", "model.predictor.dropout=0.2", "model.joint.dropout=0.2", "optim.name=lamb",
    "train.accumulation=2", "train.ema=0.9", "train.checkpoint_every=3",
)  # fmt: skip
# More of them: RNNT_KILLS=200 pytest tests/training/test_faults.py
KILLS = int(os.environ.get("RNNT_KILLS", "6"))


@pytest.fixture(scope="module")
def train(tones, run_processes):
    def run(out, *faults):
        faults = [{"rank": 0, "delay": 0, **fault} for fault in faults]
        return run_processes(*SETTINGS, data=tones, out=out, faults=faults)[0]

    return run


@pytest.fixture(scope="module")
def undisturbed(train, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert train(out)[0] == 0
    return out


def step_of(out):
    state, problems = checkpoint.load_newest(out / "checkpoints")
    return state["position"]["step"] if state else 0, problems


@pytest.fixture
def assert_ended_like(undisturbed, state_of, assert_same):
    """assert_ended_like(out): the run is the same as the undisturbed one, down to the names of its files."""

    def check(out):
        assert_same(state_of(out), state_of(undisturbed))
        models = [(run / "best" / "model.safetensors").read_bytes() for run in (out, undisturbed)]
        assert models[0] == models[1]
        names = [
            sorted(path.name for path in run.rglob("*") if "tensorboard" not in str(path)) for run in (out, undisturbed)
        ]
        assert names[0] == names[1]

    return check


def test_sigkill_at_random_moments_costs_nothing(train, assert_ended_like, tmp_path):
    rng, out, kills = random.Random(0), tmp_path / "run", 0
    longest = {"start": 1.0, "step": 0.05, "checkpoint": 0.03, "validation": 0.1, "best": 0.02}  # seconds
    places = list(longest) * (KILLS // len(longest) + 1)
    rng.shuffle(places)
    while kills < KILLS:
        # A run that got to its end begins anew, so that each kill falls into one.
        generation = out.with_name(f"run-{kills}")
        for place in places[kills : kills + 3]:
            call = rng.randint(1, 3) if place in ("step", "checkpoint") else 1
            delay = rng.uniform(0.0001, longest[place])
            code, error = train(generation, {"place": place, "call": call, "delay": delay, "signals": [signal.SIGKILL]})
            assert code in (-signal.SIGKILL, 0), error  # 0: it was faster
            kills += 1
            assert not step_of(generation)[1]  # whatever there is is whole
        code, error = train(generation)
        assert code == 0, error
        assert_ended_like(generation)


def test_sigterm_and_sigint_save_and_stop(train, assert_ended_like, tmp_path):
    out = tmp_path / "run"
    code, error = train(out, {"place": "step", "call": 5, "signals": [signal.SIGTERM]})
    assert code == 143 and "saving a checkpoint and stopping" in error
    assert step_of(out) == (5, [])  # the signal came as the fifth step began; nothing of it is lost
    code, error = train(out, {"place": "validation", "call": 1, "signals": [signal.SIGINT]})
    assert code == 130
    assert step_of(out) == (7, []) and checkpoint.load_newest(out / "checkpoints")[0]["position"]["unscored"]
    code, _ = train(out, {"place": "checkpoint", "call": 2, "signals": [signal.SIGINT]})
    assert code == 130 and step_of(out)[0] > 7
    assert train(out)[0] == 0
    assert_ended_like(out)


def test_a_second_signal_ends_the_run_at_once(train, assert_ended_like, tmp_path):
    out = tmp_path / "run"
    code, _ = train(out, {"place": "step", "call": 5, "signals": [signal.SIGINT, signal.SIGINT]})
    assert code == 130 and step_of(out) == (3, [])
    code, _ = train(out, {"place": "step", "call": 1, "signals": [signal.SIGINT, signal.SIGTERM]})
    assert code == 143 and step_of(out) == (3, [])
    # While a checkpoint is written: what torch's writer makes of it is not taken for a full disk.
    code, _ = train(out, {"place": "checkpoint", "call": 1, "signals": [signal.SIGTERM, signal.SIGTERM]})
    assert code == 143 and step_of(out) == (3, [])
    assert train(out)[0] == 0
    assert_ended_like(out)
