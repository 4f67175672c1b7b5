"""A run that is killed, at any moment and again and again, ends as if it had been left alone."""

import os
import random
import signal

import pytest
import torch

from rnnt.training import checkpoint

SETTINGS = """
features: {sample_rate: 8000, n_fft: 256, window: 200, hop: 80, mels: 16, high_hz: 4000}
augment: {speed_min: 0.9, speed_max: 1.1, noise_probability: 0.5, time_masks: 2}
tokenizer: {kind: words}
model:
  encoder: {hidden: 24, pre_layers: 1, post_layers: 1, dropout: 0.2}
  predictor: {embedding: 8, hidden: 16, layers: 1, dropout: 0.2}
  joint: {hidden: 24, dropout: 0.2}
data: {train: [train], valid: [valid], buckets: 2}
optim: {lr: 0.003}
schedule: {warmup: 0.5, hold: 100}
train: {epochs: 2, batch: 4, accumulation: 2, ema: 0.9, checkpoint_every: 3}
decoding: {max_symbols: 5}
"""
# More of them: RNNT_KILLS=200 pytest tests/training/test_faults.py
KILLS = int(os.environ.get("RNNT_KILLS", "6"))


@pytest.fixture(scope="module")
def train(tones, run_processes, tmp_path_factory):
    settings = tmp_path_factory.mktemp("settings") / "settings.yaml"
    settings.write_text(SETTINGS)

    def run(out, *faults):
        faults = [{"rank": 0, "delay": 0, **fault} for fault in faults]
        return run_processes(settings=str(settings), overrides=(), data=tones, out=out, faults=faults)[0]

    return run


@pytest.fixture(scope="module")
def undisturbed(train, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert train(out)[0] == 0
    return out


def step_of(out):
    state, problems = checkpoint.load_newest(out / "checkpoints")
    return state["position"]["step"] if state else 0, problems


def leaves(tree, place=""):
    if isinstance(tree, (dict, list)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {name: leaf for key, value in items for name, leaf in leaves(value, f"{place}.{key}").items()}
    return {place: tree}


def files(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if "tensorboard" not in str(path))


def assert_ended_like(out, undisturbed):
    ours, theirs = (leaves(checkpoint.load_newest(run / "checkpoints")[0]) for run in (out, undisturbed))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name], value) if isinstance(value, torch.Tensor) else ours[name] == value, name
    models = [(run / "best" / "model.safetensors").read_bytes() for run in (out, undisturbed)]
    assert models[0] == models[1]
    names = [
        sorted(path.name for path in run.rglob("*") if "tensorboard" not in str(path)) for run in (out, undisturbed)
    ]
    assert names[0] == names[1]


def test_sigkill_at_random_moments_costs_nothing(train, undisturbed, tmp_path):
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
        assert_ended_like(generation, undisturbed)


def test_sigterm_and_sigint_save_and_stop(train, undisturbed, tmp_path):
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
    assert_ended_like(out, undisturbed)


def test_a_second_signal_ends_the_run_at_once(train, undisturbed, tmp_path):
    out = tmp_path / "run"
    code, _ = train(out, {"place": "step", "call": 5, "signals": [signal.SIGINT, signal.SIGINT]})
    assert code == 130 and step_of(out) == (3, [])
    code, _ = train(out, {"place": "step", "call": 1, "signals": [signal.SIGINT, signal.SIGTERM]})
    assert code == 143 and step_of(out) == (3, [])
    # While a checkpoint is written: what torch's writer makes of it is not taken for a full disk.
    code, _ = train(out, {"place": "checkpoint", "call": 1, "signals": [signal.SIGTERM, signal.SIGTERM]})
    assert code == 143 and step_of(out) == (3, [])
    assert train(out)[0] == 0
    assert_ended_like(out, undisturbed)
