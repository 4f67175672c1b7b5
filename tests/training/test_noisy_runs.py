"""Training in noise and rooms: resumed exactly, alike in several processes, and validated without them."""

import shutil

import numpy as np
import pytest
import soundfile
import torch

from rnnt.training.position import Position
from rnnt.training.step import Stepper
from rnnt.training.trainer import Trainer

STEPS = 7  # of an epoch


@pytest.fixture
def noise(tmp_path):
    folder, rng = tmp_path / "noise", np.random.default_rng(0)
    folder.mkdir()
    for i, (rate, seconds) in enumerate(((8000, 4), (16000, 0.3), (44100, 1))):
        soundfile.write(folder / f"{i}.wav", 0.1 * rng.standard_normal(int(rate * seconds)), rate)
    (folder / "broken.wav").write_text("no audio")
    return folder


@pytest.fixture
def noisy(settings, noise):
    """noisy(*overrides): settings with noise from a folder and simulated rooms."""
    chosen = (
        f"augment.noise={noise}", "augment.noise_probability=0.7", "augment.rooms=simulated",
        "augment.rooms_probability=0.6",
    )  # fmt: skip
    return lambda *overrides: settings(*chosen, *overrides)


def batches_of(trainer, step=0):
    rest = trainer.data.rest_of_epoch(Position(step=step, batch=step), STEPS, trainer.processes)
    return [batch for _, shares in rest for _, batch in shares]


def test_batches_of_training_have_a_scene(tones, noisy, tmp_path):
    trainer = Trainer(noisy("augment.splice_epoch=5", "augment.ends_probability=1"), tones, tmp_path / "run")
    batches = batches_of(trainer)
    rooms, noises = (sum(len(getattr(b.scene, n)) for b in batches if b.scene) for n in ("room_rows", "noise_rows"))
    assert 9 <= rooms <= 22 and 11 <= noises <= 25  # of 26; changes of the waveform begin later
    clean, heard = (
        torch.cat([x[:, :1600] for x in xs]) for xs in zip(*[(b.inputs / 32768, b.heard()) for b in batches])
    )
    assert (clean != heard).any(1).float().mean() > 0.6
    for batch, again in zip(batches[3:], batches_of(trainer, 3), strict=True):
        assert torch.equal(batch.heard(), again.heard())
    note = next(note for note in trainer.notes if "left out (" in note)
    assert "1 of 4 recordings are left out (broken.wav: " in note


def test_noise_and_rooms_change_training_but_not_validation(tones, settings, noisy, rows, tmp_path, monkeypatch):
    first, take = [], Stepper.take
    monkeypatch.setattr(Stepper, "take", lambda *of: first.append(of[1][0][1]) or take(*of))
    for name, config in (("clean", settings("train.epochs=1")), ("noisy", noisy("train.epochs=1"))):
        Trainer(config, tones, tmp_path / name).run()
    assert len(first) == 2 * STEPS and all(batch.scene is None for batch in first[:STEPS])
    losses = [[row["loss"] for row in rows(tmp_path / name) if "loss" in row] for name in ("clean", "noisy")]
    assert len(losses[0]) == len(losses[1]) == STEPS and losses[0][0] != losses[1][0]
    trainer = Trainer(noisy("train.steps=1"), tones, tmp_path / "untrained")
    clean = Trainer(settings("train.steps=1"), tones, tmp_path / "also")
    found = [t.recognizer.eval().evaluate(t.valid_split).loss for t in (trainer, clean)]
    assert found[0] == found[1]


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    tones, noisy, state_of, assert_same, timeless, killed_at, tmp_path, noise
):
    config = noisy(
        "augment.speed_min=0.9", "augment.speed_max=1.1", "augment.pauses_probability=0.5",
        "augment.ends_probability=0.4", "augment.join_probability=0.4", "augment.wordless_probability=0.2",
        "train.accumulation=2", "train.checkpoint_every=3", "augment.splice_epoch=1",
    )  # fmt: skip
    Trainer(config, tones, tmp_path / "undisturbed").run()
    out = tmp_path / "run"
    with killed_at(Stepper, "take", 6):
        Trainer(config, tones, out).run()
    shutil.rmtree(noise.parent / "noise-8000.noise")  # decoded again
    torch.manual_seed(12345)
    Trainer(config, tones, out).run()
    assert_same(state_of(out), state_of(tmp_path / "undisturbed"))
    assert timeless(out) == timeless(tmp_path / "undisturbed")


def test_other_noise_is_refused(tones, noisy, noise, tmp_path):
    out = tmp_path / "run"
    Trainer(noisy("train.steps=1"), tones, out).run()
    soundfile.write(noise / "3.wav", 0.1 * np.random.default_rng(1).standard_normal(9000), 8000)
    with pytest.raises(ValueError, match=r"the content of augment\.noise \(.*noise\) has changed since; give the same"):
        Trainer(noisy("train.steps=2"), tones, out)
    (noise / "3.wav").unlink()
    Trainer(noisy("train.steps=2"), tones, out).run()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("augment.noise=nowhere", "^augment.noise: nowhere: is no folder"),
        ("augment.rooms=nowhere", "^augment.rooms: nowhere: is no folder"),
        ("augment.noise_probability=0", "^augment.noise is .*, but nothing uses it; set augment.noise_probability too"),
    ],
)
def test_what_cannot_be_heard_is_said(tones, noisy, tmp_path, override, message):
    with pytest.raises(ValueError, match=message):
        Trainer(noisy(override), tones, tmp_path / "run")


def test_processes_hear_what_one_hears(tones, noise, run_processes, rows, tmp_path):
    overrides = [
        f"augment.noise={noise}", "augment.noise_probability=0.7", "augment.rooms=simulated", "train.epochs=1",
        "augment.ends_probability=0.5",
    ]  # fmt: skip
    for count in (2, 1):
        more = f"train.accumulation={2 // count}"
        results = run_processes(*overrides, more, data=tones, out=tmp_path / str(count), count=count)
        assert [code for code, _ in results] == [0] * count, results
    expected, found = rows(tmp_path / "1"), rows(tmp_path / "2")
    for a, b in zip(expected, found, strict=True):
        for name in ("loss", "grad_norm", "valid_loss"):
            assert a.get(name, 0.0) == pytest.approx(b.get(name, 0.0), rel=1e-4)
