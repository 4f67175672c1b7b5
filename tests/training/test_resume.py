"""A run that is resumed: the same as one that was left alone, or refused because it is another one."""

import hashlib
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from rnnt import files
from rnnt.dataset import Dataset, write_split
from rnnt.shard import StoredUtterance
from rnnt.tokenizer import load_tokenizer
from rnnt.training import checkpoint
from rnnt.training import trainer as trainers
from rnnt.training.ema import Ema
from rnnt.training.events import Events
from rnnt.training.run import RunFolder
from rnnt.training.step import Stepper
from rnnt.training.trainer import Trainer

# Everything random, everything that has a state, checkpoints within epochs.
FULL = (
    "augment.speed_min=0.9", "augment.speed_max=1.1", "augment.noise_probability=0.5", "augment.time_masks=2",
    "augment.ends_probability=0.4", "augment.join_probability=0.4", "augment.wordless_probability=0.2",
    "augment.frequency_masks=1", "augment.frequency_width=4", "model.encoder.lstm.dropout=0.2",
    "model.predictor.dropout=0.2", "model.joint.dropout=0.2", "optim.name=lamb", "train.ema=0.9",
    "train.accumulation=2", "train.ctc_weight=0.3", "train.ctc_epochs=2", "train.checkpoint_every=3",
    "train.curriculum_epochs=1", "train.curriculum_seconds=0.6", "features.normalization=global",
    "train.weight_noise=0.01", "train.ctc_consistency=0.2", "model.predictor.masking=0.3",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tones, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    Trainer(settings(*FULL), tones, folder / "run").run()
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
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    tones, settings, timeless, state_of, assert_same, tmp_path, killed_at, undisturbed, owner, name, call
):
    config, out = settings(*FULL), tmp_path / "run"
    with killed_at(owner, name, call):
        Trainer(config, tones, out).run()
    torch.manual_seed(12345)  # another process has other random numbers
    Trainer(config, tones, out).run()
    assert_same(state_of(out), state_of(undisturbed))
    assert timeless(out) == timeless(undisturbed)
    assert (out / "best" / "model.safetensors").read_bytes() == (
        undisturbed / "best" / "model.safetensors"
    ).read_bytes()
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == sorted(
        p.name for p in (undisturbed / "checkpoints").iterdir()
    )


def test_a_run_killed_in_its_last_validation_is_still_validated(tones, settings, tmp_path, killed_at):
    config, out = settings("train.steps=4", "train.checkpoint_every=2"), tmp_path / "run"
    with killed_at(trainers, "validate", 1):
        Trainer(config, tones, out).run()
    assert math.isfinite(Trainer(config, tones, out).run())
    assert (out / "best" / "model.safetensors").exists()


def test_a_longer_run_goes_on_from_a_shorter_one(
    tones, settings, timeless, state_of, assert_same, tmp_path, undisturbed
):
    out = tmp_path / "run"
    Trainer(settings(*FULL, "train.steps=5"), tones, out).run()
    assert state_of(out)["position"]["step"] == 5
    Trainer(settings(*FULL), tones, out).run()
    ours, expected = state_of(out), state_of(undisturbed)
    for key in ("recognizer", "ema", "optimizer", "ctc_head", "position"):
        assert_same(ours[key], expected[key], key)
    # The shorter run was validated at its end; all else is the same.
    steps = [[line for line in timeless(folder) if "loss" in line] for folder in (out, undisturbed)]
    assert steps[0] == steps[1]


def test_a_damaged_checkpoint_is_passed_over_with_a_line(
    tones, settings, state_of, assert_same, tmp_path, capsys, undisturbed
):
    config, out = settings(*FULL), tmp_path / "run"
    Trainer(config, tones, out).run()
    newest = checkpoint.steps(out / "checkpoints")[-1]
    (newest / "state.pt").write_bytes((newest / "state.pt").read_bytes()[:-100])
    capsys.readouterr()
    Trainer(config, tones, out).run()
    assert f"{newest} is damaged" in capsys.readouterr().err
    assert_same(state_of(out), state_of(undisturbed))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lr=0.02", r"run with optim\.lr=0\.01, not 0\.02; choose another --out"),
        ("train.batch=8", r"train\.batch=4, not 8"),
        ("model.joint.hidden=32", r"model\.joint\.hidden=24, not 32"),
        ("data.train=[train,more]", r"data\.train="),
    ],
)
def test_changed_settings_are_refused(tones, settings, tmp_path, override, message):
    out = tmp_path / "run"
    Trainer(settings("train.steps=1"), tones, out).run()
    with pytest.raises(ValueError, match=message):
        Trainer(settings(override), tones, out)


@pytest.fixture
def copied(tones, tmp_path):
    """copied(**splits): a folder of data with links to splits of the tones, such as train="more"."""

    def link(**splits):
        data = tmp_path / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        for name, source in splits.items():
            (data / name).symlink_to(tones / source)
        return data

    return link


def edited(tones, folder, change):
    """A copy of the split train in which one utterance is another."""
    split = Dataset(tones / "train")
    utterances = [split[i] for i in range(len(split))]
    utterances[5] = replace(utterances[5], **change(utterances[5]))
    write_split(folder, utterances, split.sample_rate)


CHANGES = {
    "another text": lambda u: {"text": "mid" if u.text != "mid" else "low"},
    "another id": lambda u: {"id": "other"},
    "other audio": lambda u: {"input": -u.input},
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_of_the_same_size_is_refused(tones, settings, copied, tmp_path, change):
    out = tmp_path / "run"
    Trainer(settings("train.steps=1"), copied(train="train", valid="valid"), out).run()
    data = copied(valid="valid")
    edited(tones, data / "train", CHANGES[change])
    with pytest.raises(ValueError, match=r"run on other data: the content of data\.train \(train\) has changed since"):
        Trainer(settings(), data, out)
    with pytest.raises(ValueError, match="other data"):  # also by a run that is done
        Trainer(settings("train.steps=1"), data, out)
    assert Trainer(settings("train.steps=1"), copied(train="train", valid="valid"), out).run() < math.inf


def test_another_validation_set_is_refused(settings, copied, tmp_path):
    out = tmp_path / "run"
    Trainer(settings("train.steps=1"), copied(train="train", valid="valid"), out).run()
    with pytest.raises(ValueError, match=r"other data: the content of data\.valid \(valid\) has changed"):
        Trainer(settings(), copied(train="train", valid="more"), out)


def test_the_same_data_in_another_place_is_the_same(settings, copied, tones, tmp_path):
    out = tmp_path / "run"
    Trainer(settings("train.steps=1"), copied(train="train", valid="valid"), out).run()
    assert Trainer(settings("train.steps=2"), tones, out).position.step == 1


def test_other_data_is_refused_by_a_run_of_an_earlier_version_if_its_size_tells(settings, copied, tones, tmp_path):
    out = tmp_path / "run"
    Trainer(settings("train.steps=1", "data.valid=[]"), tones, out).run()
    (out / "fingerprints.json").unlink()
    with pytest.raises(ValueError, match="was trained on 26 utterances, 6 are given"):
        Trainer(settings("data.valid=[]"), copied(train="more"), out)
    Trainer(settings("train.steps=2", "data.valid=[]"), tones, out).run()
    with pytest.raises(ValueError, match="other data"):
        Trainer(settings("data.valid=[]"), copied(train="more"), out)


def test_a_run_killed_before_its_first_checkpoint_learns_the_tokenizer_of_the_data_that_it_is_given(
    settings, copied, tmp_path, killed_at
):
    out, config = tmp_path / "run", settings("tokenizer.kind=characters", "data.valid=[]", "train.steps=1")
    data = copied(train="train")
    with killed_at(Stepper, "take", 1):
        Trainer(config, data, out).run()
    before = load_tokenizer(out, config.tokenizer).symbols
    shutil.rmtree(data)
    write_split(data / "train", [StoredUtterance(str(i), np.ones(4000, np.int16), "xyz") for i in range(26)], 8000)
    Trainer(config, data, out).run()
    assert load_tokenizer(out / "best", config.tokenizer).symbols == list("xyz") != before


def test_a_second_program_is_refused_until_the_first_one_ends(settings, tones, tmp_path, killed_at):
    out, config = tmp_path / "run", settings("train.steps=3", "train.checkpoint_every=1")
    first = Trainer(config, tones, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"another program trains in .*run; wait for its end, or choose another --out"):
        Trainer(config, tones, out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    first.run()
    with killed_at(Stepper, "take", 1):
        Trainer(settings("train.steps=4"), tones, out).run()
    with pytest.raises(ValueError, match="lr"):
        Trainer(settings("optim.lr=1"), tones, out)
    Trainer(config, tones, out).run()


def places(state, prefix=()):
    """Yield the path of keys to every entry of a state."""
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else ()
    for key, value in items:
        yield (*prefix, key)
        yield from places(value, (*prefix, key))


def damage(state, place, value):
    """Return a copy of a state with the entry at a place replaced, or removed if the value is `places`."""
    if not place:
        return value
    key, *rest = place
    if isinstance(state, dict):
        if value is places and not rest:
            return {name: entry for name, entry in state.items() if name != key}
        return {name: damage(entry, rest, value) if name == key else entry for name, entry in state.items()}
    changed = [damage(entry, rest, value) if i == key else entry for i, entry in enumerate(state)]
    return [entry for i, entry in enumerate(changed) if value is not places or rest or i != key]


def rewrite(out, step, state):
    """Replace the state of a checkpoint and its checksum."""
    folder = out / "checkpoints" / f"step-{step:08}"
    torch.save(state, folder / "state.pt")
    (folder / "state.sha256").write_text(hashlib.sha256((folder / "state.pt").read_bytes()).hexdigest())


OPTIONAL = {"unscored", "lost_wer"}  # earlier versions did not write them, nor the scaler, which is for float16


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "sgd"])
def test_a_checkpoint_of_wrong_contents_is_passed_over_wherever_it_is_wrong(
    tones, settings, state_of, tmp_path, optimizer
):
    config, out = settings("train.ctc_weight=0.3", "train.ema=0.9", f"optim.name={optimizer}"), tmp_path / "run"
    trainer = Trainer(config, tones, out)
    trainer.run()
    state = state_of(out)
    trainer._check_state(state)
    harmless = {("optimizer", "param_groups", 0, name) for name in state["optimizer"]["param_groups"][0]}
    harmless -= {("optimizer", "param_groups", 0, "params")}
    wrong = ["text", [], None, {}, -1.5, math.nan, torch.zeros(3, 5), b"bytes", places]
    passed = []
    for place in places(state):
        for value in wrong:
            if place[0] == "scaler" or (value is places and (place in harmless or place[-1] in OPTIONAL)):
                continue
            if (place[-1], str(value)) in (("lr", "-1.5"), ("foreach", "None")):  # set before each step; as it was
                continue
            try:
                trainer._check_state(damage(state, place, value))
            except Exception:  # of any kind: load_newest() turns all into a line
                continue
            passed.append((place, str(value)))
    assert passed == []
    for value in (*wrong[:-1], 5):  # in place of the whole
        with pytest.raises((ValueError, TypeError, KeyError, IndexError, AttributeError)):
            trainer._check_state(value)


def test_a_run_goes_on_from_the_checkpoint_before_one_of_wrong_contents(tones, settings, state_of, tmp_path, capsys):
    config, out = settings("train.checkpoint_every=5"), tmp_path / "run"
    Trainer(config, tones, out).run()
    whole = state_of(out)
    last = whole["position"]["step"]
    rewrite(out, last, damage(whole, ("ema", "averages"), places))
    trainer = Trainer(config, tones, out)
    assert trainer.position.step < last
    trainer.run()
    assert f"step-{last:08} is damaged (ema lacks averages); passed over" in capsys.readouterr().err
    assert state_of(out)["position"]["step"] == last


def test_a_run_whose_checkpoints_all_have_wrong_contents_is_refused(tones, settings, state_of, tmp_path):
    config, out = settings("train.keep_checkpoints=1"), tmp_path / "run"
    Trainer(config, tones, out).run()
    state = state_of(out)
    rewrite(out, state["position"]["step"], damage(state, ("best_wer",), "low"))
    with pytest.raises(ValueError, match=r"no checkpoint in .*best_wer or lost_wer is damaged\); choose another --out"):
        Trainer(config, tones, out)


def test_what_killed_processes_left_in_a_run_is_removed_when_it_goes_on(tones, settings, tmp_path):
    config, out = settings("train.checkpoint_every=3"), tmp_path / "run"
    Trainer(config, tones, out).run()
    kept = sorted(path.name for path in (out / "checkpoints").iterdir())
    shutil.copytree(out / "checkpoints" / kept[0], out / "checkpoints" / "step-00000001")
    (out / "checkpoints" / ".step-00000099.tmp").mkdir()
    left = [out / ".config.yaml.tmp", out / "best" / ".model.safetensors.tmp"]
    for path in left:
        path.write_bytes(b"half")
    Trainer(config, tones, out)
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == kept
    assert not any(path.exists() for path in left)
