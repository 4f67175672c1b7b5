"""Whole training runs on a corpus of tones: what is learned, what is written, what is survived."""

import dataclasses
import errno
import math
import os
import shutil
import signal
import subprocess
import sys

import jiwer
import pytest
import torch
import yaml

import rnnt
from rnnt.dataset import Dataset
from rnnt.error_rate import Pair
from rnnt.evaluation import Evaluation
from rnnt.info import describe
from rnnt.model_folder import read_config
from rnnt.ngram.estimate import estimate_language_model
from rnnt.ngram.sentences import Sentences
from rnnt.training import trainer as trainers
from rnnt.training.listener import Listener
from rnnt.training.schedule import warmup_hold_decay
from rnnt.training.step import Stepper
from rnnt.training.trainer import Trainer

STEPS = 7  # of an epoch: 26 utterances in batches of 4


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.fixture(scope="module")
def learned(tones, settings, tmp_path_factory):
    """A run that has learned the three words: its folder, its settings and the best WER."""
    folder = tmp_path_factory.mktemp("learned")
    config = settings("train.epochs=24", "train.ctc_weight=0.5", "train.validate_every=5")
    out = folder / "run"
    return out, config, Trainer(config, tones, out).run()


def test_a_run_learns(learned, rows):
    out, _, wer = learned
    steps = [line for line in rows(out) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 24 * STEPS + 1))
    first, last = (sum(line["loss"] for line in part) / STEPS for part in (steps[:STEPS], steps[-STEPS:]))
    assert last < 0.1 * first
    assert wer <= 0.2
    for line in steps:
        expected = warmup_hold_decay((line["step"] - 1) / STEPS, 0.01, 0.5, 100, 0.935, 1e-5)
        assert line["lr"] == pytest.approx(expected)
        assert line["grad_norm"] > 0 and line["utterances_per_second"] > 0


@pytest.mark.parametrize(("measure", "label"), [("symbols", "PER"), ("sequences", "WER")])
def test_the_measure_decides(tones, settings, tmp_path, rows, measure, label, capsys):
    config = settings("train.epochs=4", f"scoring.measure={measure}", "optim.lr=0.03")
    rate = Trainer(config, tones, tmp_path).run()
    checks = [line[f"valid_{label.lower()}"] for line in rows(tmp_path) if "valid_loss" in line]
    assert len(checks) == 4 and rate == min(checks)
    assert f"validation {label} " in capsys.readouterr().err
    assert f"best validation {label} {100 * rate:.2f} %" in describe(tmp_path)
    texts = [(pair.reference.split(), pair.hypothesis.split()) for pair in rnnt.load(tmp_path).evaluate(
        Dataset(tones / "valid")).pairs]  # fmt: skip
    if measure == "sequences":
        assert rate == sum(a != b for a, b in texts) / 7
    else:
        assert rate == jiwer.wer([" ".join(a) for a, _ in texts], [" ".join(b) for _, b in texts])
    target = settings("train.epochs=9", f"scoring.measure={measure}", "train.target_wer=1", "optim.lr=0.03")
    assert Trainer(target, tones, tmp_path / "target").run() <= 1
    assert rows(tmp_path / "target")[-1]["epoch"] < 9


def test_validation_follows_its_plan_and_keeps_the_best(learned, rows, tones):
    out, _, wer = learned
    checks = [line for line in rows(out) if "valid_wer" in line]
    assert [line["epoch"] for line in checks] == [1, 6, 11, 16, 21, 24]
    assert [line["step"] for line in checks] == [STEPS * line["epoch"] for line in checks]
    assert wer == min(line["valid_wer"] for line in checks)
    # Of equally good models the last one is kept, and it is the one that scored so.
    best = [line for line in checks if line["valid_wer"] == wer][-1]
    result = rnnt.load(out).evaluate(Dataset(tones / "valid"))
    assert result.loss == pytest.approx(best["valid_loss"], rel=1e-5)
    errors = sum(a != b for pair in result.pairs for a, b in zip(pair.reference.split(), pair.hypothesis.split()))
    assert errors <= wer * sum(len(pair.reference.split()) for pair in result.pairs)


def test_the_best_model_loads_and_transcribes(learned, tones):
    out, _, _ = learned
    data = Dataset(tones / "train")
    model = rnnt.load(out / "best")
    transcripts = model.transcribe([recording.input for recording in data])
    assert sum(t.text == recording.text for t, recording in zip(transcripts, data)) >= 16
    assert rnnt.load(out).transcribe([data[3].input])[0].text == transcripts[3].text


def test_the_bigram_model_of_the_training_texts_is_next_to_the_best_model(learned, tones, tmp_path):
    out, _, _ = learned
    model = rnnt.load(out)
    (tmp_path / "text.txt").write_text("\n".join(Dataset(tones / "train").texts()))
    sentences = Sentences([tmp_path / "text.txt"], model.tokenizer)
    estimate_language_model(sentences, tmp_path / "bigram.arpa", 2)
    assert model.bigram == out / "best" / "bigram.arpa"
    assert model.bigram.read_text() == (tmp_path / "bigram.arpa").read_text()


def test_the_settings_are_kept_in_full(learned):
    out, config, _ = learned
    for folder in (out, out / "best"):
        assert read_config(folder / "config.yaml") == config
        assert yaml.safe_load((folder / "config.yaml").read_text()) == dataclasses.asdict(config)


def test_a_finished_run_stays_as_it_is(tones, settings, tmp_path):
    config, out = settings("train.epochs=1"), tmp_path / "run"
    wer = Trainer(config, tones, out).run()
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and "tensorboard" not in str(p)}
    assert Trainer(config, tones, out).run() == wer
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and "tensorboard" not in str(p)}


def test_a_run_without_validation_keeps_its_last_model(tones, settings, rows, tmp_path):
    out = tmp_path / "run"
    trainer = Trainer(settings("data.valid=[]", "train.epochs=1"), tones, out)
    assert trainer.run() == math.inf
    assert all("valid_wer" not in line for line in rows(out))
    for name, value in rnnt.load(out).model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name])


def test_the_model_is_calibrated_when_training_ends_or_by_the_next_call(learned, tones, settings, tmp_path, capsys):
    out, config, _ = learned
    model = rnnt.load(out)
    assert model.calibration.temperature != 1 and model.calibration.sounds
    written = (out / "best" / "calibration.json").read_bytes()
    shutil.copytree(out, tmp_path / "run")
    (tmp_path / "run" / "best" / "calibration.json").unlink()  # as if the run had been killed before
    Trainer(config, tones, tmp_path / "run").run()
    assert (tmp_path / "run" / "best" / "calibration.json").read_bytes() == written
    capsys.readouterr()
    Trainer(settings("data.valid=[]", "train.epochs=5"), tones, tmp_path / "no-valid").run()
    assert "there is no validation split" in capsys.readouterr().err
    assert rnnt.load(tmp_path / "no-valid").calibration.temperature == 1


def test_a_signal_stops_the_calibration(tones, settings, tmp_path, monkeypatch):
    trainer, calibrate = Trainer(settings("train.epochs=1"), tones, tmp_path / "run"), trainers.calibrate

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return calibrate(*arguments)

    monkeypatch.setattr(trainers, "calibrate", interrupted)
    with pytest.raises(SystemExit) as stop:
        trainer.run()
    assert stop.value.code == 130 and not (tmp_path / "run" / "best" / "calibration.json").exists()


def test_the_average_is_what_is_kept(tones, settings, tmp_path):
    out = tmp_path / "run"
    trainer = Trainer(settings("data.valid=[]", "train.epochs=1", "train.ema=0.9"), tones, out)
    trainer.run()
    best = rnnt.load(out).model.state_dict()
    for name, average in trainer.stepper.ema.averages.items():
        assert torch.equal(best[name], average)
        assert not torch.equal(best[name], trainer.model.state_dict()[name])


def test_a_run_stops_at_its_target(tones, settings, rows, tmp_path, capsys):
    out = tmp_path / "run"
    Trainer(settings("train.target_wer=1", "train.epochs=5"), tones, out).run()
    assert len(rows(out)) == STEPS + 1
    assert "target of 100.00 % reached" in capsys.readouterr().err


def test_the_curriculum_begins_with_the_short_utterances(tones, settings, rows, tmp_path):
    out = tmp_path / "run"
    overrides = ("train.curriculum_epochs=1", "train.curriculum_seconds=0.5", "data.valid=[]", "data.max_seconds=2")
    Trainer(settings(*overrides), tones, out).run()
    short = int((Dataset(tones / "train").lengths <= 4000).sum())
    assert len(rows(out)) == -(-short // 4) + STEPS


def test_bfloat16_learns_and_validates(tones, settings, rows, tmp_path, capsys):
    out = tmp_path / "run"
    Trainer(settings("precision=bfloat16", "train.epochs=3"), tones, out).run()
    log = rows(out)
    losses = [line["loss"] for line in log if "loss" in line]
    assert sum(losses[-STEPS:]) < 0.8 * sum(losses[:STEPS])
    assert [line["valid_loss"] > 0 for line in log if "valid_wer" in line] == [True] * 3
    assert "not scored" not in capsys.readouterr().err


def spoil(trainer, text):
    """Give every utterance of this text a loss of inf."""
    wanted = trainer.recognizer.tokenizer.encode(text)
    original = trainer.model.loss

    def loss(encoder, encoder_lengths, targets, target_lengths, **options):
        losses = original(encoder, encoder_lengths, targets, target_lengths, **options)
        hits = [row[:length].tolist() == wanted for row, length in zip(targets, target_lengths)]
        return losses.masked_fill(torch.tensor(hits), math.inf)

    trainer.model.loss = loss


def test_a_step_without_a_finite_loss_is_skipped_and_reported(tones, settings, rows, state_of, tmp_path, capsys):
    data = Dataset(tones / "train")
    texts = list(data.texts())
    text = next(text for text in texts if texts.count(text) == 1)
    name = data.id(texts.index(text))
    out = tmp_path / "run"
    trainer = Trainer(settings("data.valid=[]"), tones, out)
    spoil(trainer, text)
    before = []
    original = trainer.stepper.take

    def take(*args):
        old = weights(trainer)
        outcome = original(*args)
        if outcome.problem:
            before.append(all(torch.equal(value, old[key]) for key, value in weights(trainer).items()))
        return outcome

    trainer.stepper.take = take
    trainer.run()
    skipped = [line for line in rows(out) if "skipped" in line]
    assert len(rows(out)) == 2 * STEPS and len(skipped) == 2 and before == [True, True]
    assert all(line["skipped"] == f"the loss of {name} is not finite" and line["loss"] is None for line in skipped)
    assert f"step {skipped[0]['step']} skipped (1 so far): the loss of {name}" in capsys.readouterr().err
    assert state_of(out)["skipped"][0] == 2
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())


def test_a_step_without_a_finite_gradient_is_skipped(tones, settings, rows, tmp_path):
    out = tmp_path / "run"
    trainer = Trainer(settings("data.valid=[]", "train.epochs=1"), tones, out)
    count = iter(range(100))
    trainer.model.joint.output.bias.register_hook(lambda grad: grad * (math.nan if next(count) == 2 else 1))
    trainer.run()
    log = rows(out)
    assert [("skipped" in line) for line in log] == [False, False, True] + [False] * (STEPS - 3)
    ids = [trainer.data.loader.dataset.id(int(i)) for i in trainer.data.sampler.batches(0)[2]]
    assert log[2]["skipped"] == f"the gradient of {', '.join(ids)} is not finite"
    assert log[2]["loss"] > 0 and log[2]["grad_norm"] is None


def test_a_run_that_diverges_ends(tones, settings, tmp_path):
    trainer = Trainer(settings("train.max_skipped=3"), tones, tmp_path / "run")
    trainer.model.joint.output.bias.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(ValueError, match=r"3 steps in a row .* diverged; start again with a lower optim\.lr"):
        trainer.run()


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_checkpoints_and_not_the_run(tones, settings, rows, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    trainer = Trainer(settings("train.checkpoint_every=2", "train.epochs=1"), tones, out)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_disk)
        wer = trainer.run()
    assert math.isfinite(wer) and len(rows(out)) == STEPS + 1
    assert list((out / "checkpoints").iterdir()) == []
    assert "No space left on device; training goes on" in capsys.readouterr().err.replace("\n", " ")
    assert rnnt.load(out).transcribe([Dataset(tones / "valid")[0].input])


class Disk:
    """Refuses the files of models while it is full."""

    def __init__(self, patch):
        self.full, self._replace = True, os.replace
        patch.setattr(os, "replace", self.replace)

    def replace(self, source, target):
        if self.full and str(target).endswith("model.safetensors"):
            full_disk()
        self._replace(source, target)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.mark.parametrize("valid", ["[valid]", "[]"])
def test_a_full_disk_costs_the_model_and_not_the_run_which_says_so_until_there_is_room(
    tones, settings, state_of, tmp_path, capsys, disk, valid
):
    config, out = settings(f"data.valid={valid}"), tmp_path / "run"
    for _ in range(2):
        trainer = Trainer(config, tones, out)
        assert trainer.run() == math.inf
        assert "No space left on device" in capsys.readouterr().err
        assert not list((out / "best").glob("*.tmp")) and not (out / "best" / "model.safetensors").exists()
        assert state_of(out)["best_wer"] == math.inf and state_of(out)["position"]["step"] == 2 * STEPS
        line = (
            f"training is done, but there is no model in {out / 'best'}: it could not be written; make room on the disk"
        )
        assert trainer.missing_model().startswith(line)
    disk.full = False
    trainer = Trainer(config, tones, out)
    assert (trainer.run() < math.inf) == (valid != "[]") and trainer.missing_model() == ""
    assert rnnt.load(out).config == config


def test_a_best_model_that_was_lost_is_said_at_the_end_also_after_a_kill(
    tones, settings, tmp_path, monkeypatch, disk, killed_at
):
    config, out = settings("train.epochs=5"), tmp_path / "run"
    rates = iter([50, 20, 30, 40, 10])

    def validate(*_):
        wrong = next(rates)
        disk.full = wrong == 20
        pairs = [Pair(str(i), "a", "b" if i < wrong else "a") for i in range(100)]
        return Evaluation(pairs, 1.0, 100, [], [])

    monkeypatch.setattr(trainers, "validate", validate)
    with killed_at(Stepper, "take", 3 * STEPS + 1):
        Trainer(config, tones, out).run()
    trainer = Trainer(settings("train.epochs=4"), tones, out)
    assert trainer.run() == 0.3
    assert trainer.missing_model() == (
        f"training is done, but the model in {out / 'best'} has a validation WER of 30.00 %: the best one, of 20.00 %, "
        "could not be written"
    )
    trainer = Trainer(config, tones, out)
    assert trainer.run() == 0.1 and trainer.missing_model() == ""


def test_without_validation_the_latest_model_that_was_lost_is_said(tones, settings, tmp_path, disk):
    trainer = Trainer(settings("data.valid=[]"), tones, tmp_path / "run")
    blocks = []

    class Fills(Listener):
        def block_stop(self, position):
            blocks.append(position.step)
            disk.full = len(blocks) == 1

    disk.full = False
    trainer.listeners.append(Fills())
    trainer.run()
    best = tmp_path / "run" / "best"
    assert blocks == [STEPS, 2 * STEPS]
    line = f"training is done, but the model in {best} is not the latest, which could not be written; make room"
    assert trainer.missing_model().startswith(line)


def test_a_validation_without_a_score_does_not_stop_the_run(tones, settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trainers, "validate", lambda *_: Evaluation([], math.nan, 0, [("a", "is damaged")], []))
    trainer = Trainer(settings("train.epochs=2"), tones, tmp_path / "run")
    assert trainer.run() == math.inf and "not scored: a: is damaged" in capsys.readouterr().err
    assert trainer.missing_model().endswith("best: no utterance of the validation data could be scored")


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from rnnt.cli import main
main()
"""


@pytest.mark.parametrize("more", [[], ["--processes", "2"]])
def test_the_command_ends_with_code_2_if_there_was_no_room_for_a_model(tiny, tones, tmp_path, more):
    """The largest file is limited to 20 kB: room for the log, but not for 17,004 weights."""
    command = ["train", tiny, "train.epochs=1", "--data", tones, "--out", tmp_path / "run", *more]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "20000", *map(str, command)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "model:" not in done.stdout
    assert done.stderr.splitlines()[-1].startswith(
        f"error: training is done, but there is no model in {tmp_path / 'run' / 'best'}: it could not be written"
    ), done.stderr
    assert "Traceback" not in done.stderr
