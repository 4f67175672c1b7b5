"""Whole training runs on a corpus of tones: what is learned, what is written, what is survived."""

import dataclasses
import errno
import json
import math
import os
import re

import pytest
import torch
import yaml

import rnnt
from rnnt import device as devices
from rnnt import files
from rnnt.config import TokenizerConfig
from rnnt.dataset import Dataset
from rnnt.model import Transducer
from rnnt.model_folder import read_config
from rnnt.settings import load_config
from rnnt.tokenizer import train_tokenizer
from rnnt.training import checkpoint
from rnnt.training import trainer as trainers
from rnnt.training.data import split_folders
from rnnt.training.ema import Ema
from rnnt.training.events import Events
from rnnt.training.run import RunFolder
from rnnt.training.schedule import warmup_hold_decay
from rnnt.training.share import Share
from rnnt.training.step import Stepper
from rnnt.training.stop import Stop
from rnnt.training.trainer import Trainer

SETTINGS = """
features: {sample_rate: 8000, n_fft: 256, window: 200, hop: 80, mels: 16, high_hz: 4000}
tokenizer: {kind: words}
model:
  encoder: {hidden: 24, pre_layers: 1, post_layers: 1, dropout: 0.0}
  predictor: {embedding: 8, hidden: 16, layers: 1, dropout: 0.0}
  joint: {hidden: 24, dropout: 0.0}
  init_scale: 1.0
data: {train: [train], valid: [valid], buckets: 2}
optim: {name: adamw, lr: 0.01, max_grad_norm: 5.0}
schedule: {warmup: 0.5, hold: 100}
train: {epochs: 2, batch: 4, ema: 0}
"""
STEPS = 7  # of an epoch: 26 utterances in batches of 4

# Everything random, everything that has a state, checkpoints within epochs.
FULL = (
    "augment.speed_min=0.9", "augment.speed_max=1.1", "augment.noise_probability=0.5", "augment.time_masks=2",
    "augment.ends_probability=0.4", "augment.join_probability=0.4", "augment.wordless_probability=0.2",
    "augment.frequency_masks=1", "augment.frequency_width=4", "model.encoder.dropout=0.2",
    "model.predictor.dropout=0.2", "model.joint.dropout=0.2", "optim.name=lamb", "train.ema=0.9",
    "train.accumulation=2", "train.ctc_weight=0.3", "train.ctc_epochs=2", "train.checkpoint_every=3",
    "train.curriculum_epochs=1", "train.curriculum_seconds=0.6", "features.normalization=global",
)  # fmt: skip


def settings(tmp_path, *overrides):
    path = tmp_path / "settings.yaml"
    path.write_text(SETTINGS)
    return load_config(path, overrides)


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def without_times(out):
    return [{k: v for k, v in line.items() if k not in ("time", "utterances_per_second")} for line in lines(out)]


def state_of(out):
    state, problems = checkpoint.load_newest(out / "checkpoints")
    assert not problems
    return state


def assert_same(a, b, place=""):
    assert type(a) is type(b), place
    if isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f"{place}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    else:
        assert a == b, place


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.fixture(scope="module")
def learned(tones, tmp_path_factory):
    """A run that has learned the three words: its folder, its settings and the best WER."""
    folder = tmp_path_factory.mktemp("learned")
    config = settings(folder, "train.epochs=24", "train.ctc_weight=0.5", "train.validate_every=5")
    out = folder / "run"
    return out, config, Trainer(config, tones, out).run()


def test_a_run_learns(learned):
    out, _, wer = learned
    steps = [line for line in lines(out) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 24 * STEPS + 1))
    first, last = (sum(line["loss"] for line in part) / STEPS for part in (steps[:STEPS], steps[-STEPS:]))
    assert last < 0.1 * first
    assert wer <= 0.2
    for line in steps:
        expected = warmup_hold_decay((line["step"] - 1) / STEPS, 0.01, 0.5, 100, 0.935, 1e-5)
        assert line["lr"] == pytest.approx(expected)
        assert line["grad_norm"] > 0 and line["utterances_per_second"] > 0


def test_validation_follows_its_plan_and_keeps_the_best(learned, tones):
    out, _, wer = learned
    checks = [line for line in lines(out) if "valid_wer" in line]
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


def test_the_settings_are_kept_in_full(learned):
    out, config, _ = learned
    for folder in (out, out / "best"):
        assert read_config(folder / "config.yaml") == config
        assert yaml.safe_load((folder / "config.yaml").read_text()) == dataclasses.asdict(config)


@pytest.fixture(scope="module")
def undisturbed(tones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    Trainer(settings(folder, *FULL), tones, folder / "run").run()
    return folder / "run"


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (Stepper, "take", 1),  # before anything was learned
        (Stepper, "take", 6),  # between two checkpoints
        (Ema, "update", 10),  # with the weights of a step changed and the averages not
        (Events, "log", 5),  # a step done and not logged
        (checkpoint, "sha256_of", 2),  # while a checkpoint is being written
        (files, "sync_folder", 8),  # when it is all there but for the last flush
        (trainers, "validate", 1),
        (RunFolder, "save_best", 1),  # the best model known, not written
        (Trainer, "_save_checkpoint", 3),  # the best model written, the checkpoint not
    ],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(tones, tmp_path, killed_at, undisturbed, owner, name, call):
    config, out = settings(tmp_path, *FULL), tmp_path / "run"
    with killed_at(owner, name, call):
        Trainer(config, tones, out).run()
    torch.manual_seed(12345)  # another process has other random numbers
    Trainer(config, tones, out).run()
    assert_same(state_of(out), state_of(undisturbed))
    assert without_times(out) == without_times(undisturbed)
    assert (out / "best" / "model.safetensors").read_bytes() == (
        undisturbed / "best" / "model.safetensors"
    ).read_bytes()
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == sorted(
        p.name for p in (undisturbed / "checkpoints").iterdir()
    )


def test_a_run_killed_in_its_last_validation_is_still_validated(tones, tmp_path, killed_at):
    config, out = settings(tmp_path, "train.steps=4", "train.checkpoint_every=2"), tmp_path / "run"
    with killed_at(trainers, "validate", 1):
        Trainer(config, tones, out).run()
    assert math.isfinite(Trainer(config, tones, out).run())
    assert (out / "best" / "model.safetensors").exists()


def test_a_longer_run_goes_on_from_a_shorter_one(tones, tmp_path, undisturbed):
    out = tmp_path / "run"
    Trainer(settings(tmp_path, *FULL, "train.steps=5"), tones, out).run()
    assert state_of(out)["position"]["step"] == 5
    Trainer(settings(tmp_path, *FULL), tones, out).run()
    ours, expected = state_of(out), state_of(undisturbed)
    for key in ("recognizer", "ema", "optimizer", "ctc_head", "position"):
        assert_same(ours[key], expected[key], key)
    # The shorter run was validated at its end; all else is the same.
    steps = [[line for line in without_times(folder) if "loss" in line] for folder in (out, undisturbed)]
    assert steps[0] == steps[1]


def test_a_damaged_checkpoint_is_passed_over_with_a_line(tones, tmp_path, capsys, undisturbed):
    config, out = settings(tmp_path, *FULL), tmp_path / "run"
    Trainer(config, tones, out).run()
    newest = checkpoint.steps(out / "checkpoints")[-1]
    (newest / "state.pt").write_bytes((newest / "state.pt").read_bytes()[:-100])
    capsys.readouterr()
    Trainer(config, tones, out).run()
    assert f"{newest} is damaged" in capsys.readouterr().err
    assert_same(state_of(out), state_of(undisturbed))


def test_a_finished_run_stays_as_it_is(tones, tmp_path):
    config, out = settings(tmp_path, "train.epochs=1"), tmp_path / "run"
    wer = Trainer(config, tones, out).run()
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and "tensorboard" not in str(p)}
    assert Trainer(config, tones, out).run() == wer
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and "tensorboard" not in str(p)}


def test_accumulated_shares_give_the_step_of_the_whole_batch(tones, tmp_path):
    results = []
    for shares in (1, 2, 4):
        config = settings(tmp_path, f"train.accumulation={shares}", "train.steps=4", "data.valid=[]")
        trainer = Trainer(config, tones, tmp_path / str(shares))
        trainer.run()
        results.append((weights(trainer), [line["loss"] for line in lines(tmp_path / str(shares))]))
    for other, losses in results[1:]:
        assert losses == pytest.approx(results[0][1], rel=1e-4)
        for name, value in other.items():
            torch.testing.assert_close(value, results[0][0][name], rtol=1e-3, atol=1e-4, msg=name)


def test_the_first_step_is_the_gradient_of_the_mean_loss(tones, tmp_path):
    """Against plain torch: one batch, one backward pass, one step of AdamW."""
    config = settings(tmp_path, "train.steps=1", "data.valid=[]", "schedule.warmup=0")
    trainer = Trainer(config, tones, tmp_path / "run")
    model = Transducer(trainer.model.inputs, trainer.model.vocabulary, config.model)
    model.load_state_dict(trainer.model.state_dict())
    batch = trainer.data.loader.read(trainer.data.sampler.batches(0)[0])
    trainer.run()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, (0.9, 0.999), 1e-9, weight_decay=1e-3)
    features = trainer.recognizer.features(batch.inputs, batch.input_lengths)
    loss = model(*features, batch.targets, batch.target_lengths).mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    (line,) = lines(tmp_path / "run")
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert line["grad_norm"] == pytest.approx(float(norm), rel=1e-4)
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-3, atol=1e-5, msg=name)


def spoil(trainer, text):
    """Give every utterance of this text a loss of inf."""
    wanted = trainer.recognizer.tokenizer.encode(text)
    original = trainer.model.loss

    def loss(encoder, encoder_lengths, targets, target_lengths, **options):
        losses = original(encoder, encoder_lengths, targets, target_lengths, **options)
        hits = [row[:length].tolist() == wanted for row, length in zip(targets, target_lengths)]
        return losses.masked_fill(torch.tensor(hits), math.inf)

    trainer.model.loss = loss


def test_a_step_without_a_finite_loss_is_skipped_and_reported(tones, tmp_path, capsys):
    data = Dataset(tones / "train")
    texts = list(data.texts())
    text = next(text for text in texts if texts.count(text) == 1)
    name = data.id(texts.index(text))
    out = tmp_path / "run"
    trainer = Trainer(settings(tmp_path, "data.valid=[]"), tones, out)
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
    skipped = [line for line in lines(out) if "skipped" in line]
    assert len(lines(out)) == 2 * STEPS and len(skipped) == 2 and before == [True, True]
    assert all(line["skipped"] == f"the loss of {name} is not finite" and line["loss"] is None for line in skipped)
    assert f"step {skipped[0]['step']} skipped (1 so far): the loss of {name}" in capsys.readouterr().err
    assert state_of(out)["skipped"][0] == 2
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())


def test_a_step_without_a_finite_gradient_is_skipped(tones, tmp_path):
    out = tmp_path / "run"
    trainer = Trainer(settings(tmp_path, "data.valid=[]", "train.epochs=1"), tones, out)
    count = iter(range(100))
    trainer.model.joint.output.bias.register_hook(lambda grad: grad * (math.nan if next(count) == 2 else 1))
    trainer.run()
    log = lines(out)
    assert [("skipped" in line) for line in log] == [False, False, True] + [False] * (STEPS - 3)
    ids = [trainer.data.loader.dataset.id(int(i)) for i in trainer.data.sampler.batches(0)[2]]
    assert log[2]["skipped"] == f"the gradient of {', '.join(ids)} is not finite"
    assert log[2]["loss"] > 0 and log[2]["grad_norm"] is None


def test_a_run_that_diverges_ends(tones, tmp_path):
    trainer = Trainer(settings(tmp_path, "train.max_skipped=3"), tones, tmp_path / "run")
    trainer.model.joint.output.bias.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(ValueError, match=r"3 steps in a row .* diverged; start again with a lower optim\.lr"):
        trainer.run()


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_checkpoints_and_not_the_run(tones, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    trainer = Trainer(settings(tmp_path, "train.checkpoint_every=2", "train.epochs=1"), tones, out)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_disk)
        wer = trainer.run()
    assert math.isfinite(wer) and len(lines(out)) == STEPS + 1
    assert list((out / "checkpoints").iterdir()) == []
    assert "No space left on device; training goes on" in capsys.readouterr().err.replace("\n", " ")
    assert rnnt.load(out).transcribe([Dataset(tones / "valid")[0].input])


def test_a_full_disk_costs_the_best_model_and_not_the_run(tones, tmp_path, monkeypatch, capsys):
    original = os.replace

    def refuse(source, target):
        if str(target).endswith("model.safetensors"):
            full_disk()
        original(source, target)

    out = tmp_path / "run"
    trainer = Trainer(settings(tmp_path), tones, out)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        assert trainer.run() == math.inf
    assert "No space left on device" in capsys.readouterr().err
    assert not list((out / "best").glob("*.tmp")) and not (out / "best" / "model.safetensors").exists()
    assert state_of(out)["best_wer"] == math.inf


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lr=0.02", r"run with optim\.lr=0\.01, not 0\.02; choose another --out"),
        ("train.batch=8", r"train\.batch=4, not 8"),
        ("model.joint.hidden=32", r"model\.joint\.hidden=24, not 32"),
        ("data.train=[train,more]", r"data\.train="),
    ],
)
def test_changed_settings_are_refused(tones, tmp_path, override, message):
    out = tmp_path / "run"
    Trainer(settings(tmp_path, "train.steps=1"), tones, out).run()
    with pytest.raises(ValueError, match=message):
        Trainer(settings(tmp_path, override), tones, out)


def test_other_data_is_refused(tones, tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    (data / "train").symlink_to(tones / "train")
    Trainer(settings(tmp_path, "train.steps=1", "data.valid=[]"), data, out).run()
    (data / "train").unlink()
    (data / "train").symlink_to(tones / "more")
    with pytest.raises(ValueError, match="was trained on 26 utterances, 6 are given"):
        Trainer(settings(tmp_path, "data.valid=[]"), data, out)


def test_splits_are_found_by_pattern(tones):
    def names(*patterns):
        return [folder.name for folder in split_folders(tones, list(patterns))]

    assert names("train", "more") == ["train", "more"]
    assert names("m*", "*") == ["more", "train", "valid"]
    assert names("valid", "*") == ["valid", "more", "train"]
    elsewhere = split_folders(tones / "train", ["../m*", f"{tones}/train"])
    assert [folder.resolve() for folder in elsewhere] == [tones / "more", tones / "train"]
    with pytest.raises(ValueError, match=r"no split dev-\* in .*; it holds more, train, valid"):
        names("train", "dev-*")
    with pytest.raises(ValueError, match="it holds no prepared split; run `rnnt prepare` first"):
        split_folders(tones / "train", ["train"])


def test_a_split_to_which_two_patterns_lead_counts_once(tones, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name, target in {"a": "train", "b": "train", "c": "more"}.items():
        (data / name).symlink_to(tones / target)
    for patterns in (["a", "b", "c"], ["a", f"{tones}/train", "c/", f"../{data.name}/*"], ["*"]):
        assert split_folders(data, patterns) == [data / "a", data / "c"]


def test_data_of_another_rate_is_refused(tones, tmp_path):
    with pytest.raises(ValueError, match=r"at 8000 Hz, the model at 16000 Hz; .* with --sample-rate 16000$") as caught:
        Trainer(settings(tmp_path, "features.sample_rate=16000"), tones, tmp_path / "run")
    (mend,) = re.findall(r"set (\S+=\d+), or", str(caught.value))
    config = Trainer(load_config("small", [mend, "data.valid=[]"]), tones, tmp_path / "run").config
    assert (config.features.sample_rate, config.features.window, config.features.hop) == (8000, 160, 80)


def test_utterances_of_other_lengths_are_left_out_and_counted(tones, tmp_path, capsys):
    seconds = Dataset(tones / "train").lengths / 8000
    fits = (seconds >= 0.3) & (seconds <= 0.7)
    assert 3 < fits.sum() < 23
    config = settings(
        tmp_path, "data.min_seconds=0.3", "data.max_seconds=0.7", "train.epochs=1", "data.valid=[]", "train.batch=1"
    )
    trainer = Trainer(config, tones, tmp_path / "run")
    trainer.run()
    assert len(lines(tmp_path / "run")) == fits.sum()
    note = f"left out of training: {(~fits).sum()} of 26 utterances are not within 0.3-0.7 s"
    assert note in capsys.readouterr().err.replace("\n", " ")
    with pytest.raises(ValueError, match=r"no utterance to train on: .* 26 of 26 utterances are not within 20.0-30.0"):
        Trainer(settings(tmp_path, "data.min_seconds=20", "data.max_seconds=30"), tones, tmp_path / "other")


def test_texts_that_the_tokenizer_lacks_are_left_out_and_counted(tones, tmp_path):
    (tmp_path / "tokenizer").mkdir()
    train_tokenizer(["low mid"], TokenizerConfig("words")).save(tmp_path / "tokenizer")
    texts = list(Dataset(tones / "train").texts())
    unknown = sum("high" in text for text in texts)
    assert 0 < unknown < 26
    config = settings(tmp_path, f"tokenizer.path={tmp_path}/tokenizer", "train.epochs=1", "train.batch=1")
    trainer = Trainer(config, tones, tmp_path / "run")
    assert f"{unknown} hold text that the tokenizer lacks (first train-" in trainer.notes[0]
    assert "'high'" in trainer.notes[0]
    trainer.run()
    log = lines(tmp_path / "run")
    assert len([line for line in log if "loss" in line]) == 26 - unknown
    assert log[-1]["valid_wer"] > 0  # scored with the words that it cannot know


def test_a_run_without_validation_keeps_its_last_model(tones, tmp_path):
    out = tmp_path / "run"
    trainer = Trainer(settings(tmp_path, "data.valid=[]", "train.epochs=1"), tones, out)
    assert trainer.run() == math.inf
    assert all("valid_wer" not in line for line in lines(out))
    for name, value in rnnt.load(out).model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name])


def test_the_average_is_what_is_kept(tones, tmp_path):
    out = tmp_path / "run"
    trainer = Trainer(settings(tmp_path, "data.valid=[]", "train.epochs=1", "train.ema=0.9"), tones, out)
    trainer.run()
    best = rnnt.load(out).model.state_dict()
    for name, average in trainer.stepper.ema.averages.items():
        assert torch.equal(best[name], average)
        assert not torch.equal(best[name], trainer.model.state_dict()[name])


def test_a_run_stops_at_its_target(tones, tmp_path, capsys):
    out = tmp_path / "run"
    Trainer(settings(tmp_path, "train.target_wer=1", "train.epochs=5"), tones, out).run()
    assert len(lines(out)) == STEPS + 1
    assert "target of 100.00 % reached" in capsys.readouterr().err


def test_the_curriculum_begins_with_the_short_utterances(tones, tmp_path):
    out = tmp_path / "run"
    overrides = ("train.curriculum_epochs=1", "train.curriculum_seconds=0.5", "data.valid=[]", "data.max_seconds=2")
    Trainer(settings(tmp_path, *overrides), tones, out).run()
    short = int((Dataset(tones / "train").lengths <= 4000).sum())
    assert len(lines(out)) == -(-short // 4) + STEPS


def test_global_statistics_are_those_of_the_training_data(tones, tmp_path):
    trainer = Trainer(settings(tmp_path, "features.normalization=global", "data.valid=[]"), tones, tmp_path / "run")
    features = trainer.recognizer.features
    frames = []
    for recording in Dataset(tones / "train"):
        audio = torch.from_numpy(recording.input.copy())[None]
        mel, count = features.log_mel(audio, torch.tensor([audio.shape[1]]))
        frames.append(mel[0, : count[0]].double())
    frames = torch.cat(frames)
    torch.testing.assert_close(features.mean.double(), frames.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.std.double(), frames.std(0, unbiased=False), rtol=1e-3, atol=1e-4)


def test_bfloat16_learns_and_validates(tones, tmp_path, capsys):
    out = tmp_path / "run"
    Trainer(settings(tmp_path, "precision=bfloat16", "train.epochs=3"), tones, out).run()
    log = lines(out)
    losses = [line["loss"] for line in log if "loss" in line]
    assert sum(losses[-STEPS:]) < 0.8 * sum(losses[:STEPS])
    assert [line["valid_loss"] > 0 for line in log if "valid_wer" in line] == [True] * 3
    assert "not scored" not in capsys.readouterr().err


@pytest.fixture
def half_floats(monkeypatch):
    """float16 as on a GPU, with PyTorch's own LSTM in place of oneDNN's, which few CPUs have in this type."""
    monkeypatch.setattr(devices, "_cpu_has", lambda dtype: True)
    with torch.backends.mkldnn.flags(enabled=False):
        yield


def scale_by(trainer, scale):
    trainer.stepper.scaler.load_state_dict(trainer.stepper.scaler.state_dict() | {"scale": scale})


def test_float16_scales_the_loss_and_not_the_gradient(tones, tmp_path, half_floats):
    results = []
    for name in ("float32", "float16"):
        out = tmp_path / name
        trainer = Trainer(settings(tmp_path, f"precision={name}", "data.valid=[]", "train.epochs=1"), tones, out)
        if name == "float16":
            scale_by(trainer, 256.0)
        trainer.run()
        results.append([(line["loss"], line["grad_norm"]) for line in lines(out)])
    for (loss, norm), (other_loss, other_norm) in zip(*results):
        assert other_loss == pytest.approx(loss, rel=0.02) and other_norm == pytest.approx(norm, rel=0.1)


def test_a_gradient_beyond_float16_halves_the_scale_that_a_resumed_run_keeps(tones, tmp_path, half_floats):
    out, config = tmp_path / "run", ("precision=float16", "data.valid=[]", "train.epochs=1")
    trainer = Trainer(settings(tmp_path, *config, "train.steps=4"), tones, out)
    scale_by(trainer, 256.0)
    count = iter(range(100))
    trainer.model.joint.output.bias.register_hook(lambda grad: grad * (math.inf if next(count) == 2 else 1))
    trainer.run()
    told = [line.get("skipped") for line in lines(out)]
    assert told == [None, None, "the gradient is beyond float16, the loss being scaled by 256", None]
    assert state_of(out)["scaler"]["scale"] == 128
    resumed = Trainer(settings(tmp_path, *config), tones, out)
    assert resumed.stepper.scaler.get_scale() == 128 and resumed.position.skipped == 1


def test_a_share_that_counts_for_nothing_cannot_spoil_a_step(tones, tmp_path):
    trainer = Trainer(settings(tmp_path), tones, tmp_path / "run")
    indices = trainer.data.sampler.batches(0)[0]
    batch = trainer.data.loader.read(indices)
    objective = trainer.stepper._objective

    def infinite_alone(batch, augmentation, ctc_weight):
        loss_B, total = objective(batch, augmentation, ctc_weight)
        return (loss_B * math.inf if len(batch) == 1 else loss_B), total

    trainer.stepper._objective = infinite_alone
    idle = trainer.data.loader.read(indices[:1])
    shares = [(Share(0, indices, 1.0), batch), (Share(1, indices[:1], 0.0), idle)]
    outcome = trainer.stepper.take(shares, len(indices), 0, 0.0, Stop(announce=False))
    assert outcome.problem == "" and math.isfinite(outcome.loss)
