"""The data of a run: splits by name and pattern, the utterances that are trained on, their batches."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rnnt.config import TokenizerConfig
from rnnt.dataset import Dataset, write_split
from rnnt.settings import load_config
from rnnt.shard import StoredUtterance
from rnnt.tokenizer import Symbols, train_tokenizer
from rnnt.training.data import TrainingData, split_folders
from rnnt.training.position import Position
from rnnt.training.run import RunFolder
from rnnt.training.trainer import Trainer

ALONE = SimpleNamespace(rank=0, count=1)


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


@pytest.mark.parametrize("patterns", ["data.train=[train]", "data.valid=[valid]"])
def test_data_of_another_rate_is_refused_with_a_mend_that_works(tones, settings, tmp_path, patterns):
    with pytest.raises(ValueError, match=r"at 8000 Hz, the model at 16000 Hz; .* with --sample-rate 16000$") as caught:
        Trainer(settings("features.sample_rate=16000", patterns), tones, tmp_path / "run")
    (mend,) = re.findall(r"set (\S+=\d+), or", str(caught.value))
    config = Trainer(load_config("small", [mend, "data.valid=[]"]), tones, tmp_path / "run").config
    assert (config.features.sample_rate, config.features.window, config.features.hop) == (8000, 160, 80)


def test_utterances_of_other_lengths_are_left_out_and_counted(tones, settings, rows, tmp_path, capsys):
    seconds = Dataset(tones / "train").lengths / 8000
    fits = (seconds >= 0.3) & (seconds <= 0.7)
    assert 3 < fits.sum() < 23
    config = settings(
        "data.min_seconds=0.3", "data.max_seconds=0.7", "train.epochs=1", "data.valid=[]", "train.batch=1"
    )
    trainer = Trainer(config, tones, tmp_path / "run")
    trainer.run()
    assert len(rows(tmp_path / "run")) == fits.sum()
    note = f"left out of training: {(~fits).sum()} of 26 utterances are not within 0.3-0.7 s"
    assert note in capsys.readouterr().err.replace("\n", " ")
    with pytest.raises(ValueError, match=r"no utterance to train on: .* 26 of 26 utterances are not within 20.0-30.0"):
        Trainer(settings("data.min_seconds=20", "data.max_seconds=30"), tones, tmp_path / "other")


def test_texts_that_the_tokenizer_lacks_are_left_out_and_counted(tones, settings, rows, tmp_path):
    (tmp_path / "tokenizer").mkdir()
    train_tokenizer(["low mid"], TokenizerConfig("words")).save(tmp_path / "tokenizer")
    texts = list(Dataset(tones / "train").texts())
    unknown = sum("high" in text for text in texts)
    assert 0 < unknown < 26
    config = settings(f"tokenizer.path={tmp_path}/tokenizer", "train.epochs=1", "train.batch=1")
    trainer = Trainer(config, tones, tmp_path / "run")
    assert f"{unknown} hold text that the tokenizer lacks (first train-" in trainer.notes[0]
    assert "'high'" in trainer.notes[0]
    trainer.run()
    log = rows(tmp_path / "run")
    assert len([line for line in log if "loss" in line]) == 26 - unknown
    assert log[-1]["valid_wer"] > 0  # scored with the words that it cannot know


@pytest.fixture
def training_data(tones, settings):
    """training_data(*overrides): the data of a run, with a tokenizer that knows all words."""

    def make(*overrides):
        tokenizer = train_tokenizer(["low mid high"], TokenizerConfig("words"))
        return TrainingData(Dataset(tones / "train"), tokenizer, settings(*overrides), torch.device("cpu"))

    return make


def test_if_all_utterances_are_usable_there_is_nothing_to_say(training_data):
    data = training_data()
    assert data.usable.tolist() == list(range(26)) and data.left_out == ""


def test_an_epoch_is_every_utterance_once_with_its_tensors(training_data):
    data = training_data("train.accumulation=2")
    seen = []
    for size, shares in data.rest_of_epoch(Position(step=7, epoch=1), 100, ALONE):
        assert size == sum(len(share.indices) for share, _ in shares) and len(shares) == min(2, size)
        for share, batch in shares:
            assert batch.ids == [data.dataset.id(int(i)) for i in share.indices]
            assert batch.input_lengths.tolist() == data.dataset.lengths[share.indices].tolist()
            seen += share.indices.tolist()
    assert sorted(seen) == list(range(26))


def test_the_rest_of_an_epoch_is_what_was_left_of_it(training_data):
    data = training_data()

    def batches(position, end):
        return [shares[0][0].indices.tolist() for _, shares in data.rest_of_epoch(position, end, ALONE)]

    whole = batches(Position(), 100)
    assert len(whole) == data.sampler.steps(0) == 7
    for batch in range(8):
        assert batches(Position(step=batch, batch=batch), 100) == whole[batch:]
        assert batches(Position(step=batch, batch=batch), 5) == whole[batch:5]
    assert batches(Position(step=7, epoch=1), 100) != whole


def test_processes_divide_each_batch(training_data):
    data = training_data()
    halves = [data.rest_of_epoch(Position(), 7, SimpleNamespace(rank=rank, count=2)) for rank in (0, 1)]
    for index, ((size, first), (other, second)) in enumerate(zip(*halves, strict=True)):
        indices = np.concatenate([share.indices for share, _ in first + second])
        assert size == other == len(indices)
        assert sorted(indices) == sorted(data.sampler.batches(0)[index])


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["train.epochs=3"], 21),
        (["train.epochs=3", "train.steps=8"], 8),
        (["train.epochs=1", "train.steps=8"], 7),
        (["train.epochs=2", "train.curriculum_epochs=1", "train.curriculum_seconds=0.01"], 1 + 7),
    ],
)
def test_steps_of_a_run(training_data, overrides, steps):
    assert training_data(*overrides).total_steps() == steps


def listed(out):
    header, *lines = (out / "left-out.tsv").read_text().splitlines()
    assert header == "id\treason"
    return dict(line.split("\t") for line in lines)


@pytest.fixture
def noise(tmp_path):
    """noise(texts): data with a split train of half a second of noise for each text."""

    def write(texts, seconds=0.5):
        rng = np.random.default_rng(0)
        audio = [rng.integers(-9000, 9000, int(8000 * seconds)).astype(np.int16) for _ in texts]
        split = tmp_path / "data" / "train"
        write_split(split, [StoredUtterance(f"u{i}", *each) for i, each in enumerate(zip(audio, texts))], 8000)
        return tmp_path / "data"

    return write


def test_all_that_is_left_out_is_listed_with_its_reason(noise, settings, tones, rows, tmp_path, capsys):
    data = noise(["ab", "b" * 80_000, "a b", "=a", "ba", "a" * 51, "a" * 50, "\x1b[31mab"])
    write_split(data / "train-short", [StoredUtterance("=short", np.ones(400, np.int16), "a")], 8000)
    write_split(data / "train-long", [StoredUtterance("long", np.ones(8000, np.int16), "z")], 8000)
    (tmp_path / "tokenizer").mkdir()
    Symbols("characters", ["a", "b"]).save(tmp_path / "tokenizer")  # without a space
    out = tmp_path / "run"
    config = settings(
        "data.train=[train,train-short,train-long]", "data.valid=[]", "data.max_seconds=0.9", "train.epochs=1",
        f"tokenizer.path={tmp_path}/tokenizer", "tokenizer.kind=characters", "train.batch=1",
    )  # fmt: skip
    trainer = Trainer(config, data, out)
    trainer.run()
    assert listed(out) == {
        "u1": "its text has 80000 characters for 0.50 s of audio, more than 100 a second",
        "u2": "unknown to the tokenizer: ' '",
        "u3": "unknown to the tokenizer: '='",
        "u5": "its text has 51 symbols for 0.50 s of audio, more than 100 a second",
        "u7": r"unknown to the tokenizer: '\x1b' '1' '3' '[' 'm'",
        "'=short": "it has 0.050 s, less than data.min_seconds=0.1",
        "long": "it has 1.000 s, more than data.max_seconds=0.9",
    }
    assert trainer.data.usable.tolist() == [0, 4, 6] and len(rows(out)) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "2 of 10 utterances are not within 0.1-0.9 s; 4 hold text that the tokenizer lacks (first u2: " in said
    assert "; 2 hold more text than can be spoken (first u1: its text has 80000 characters for 0.50 s" in said
    assert f"more than 100 a second); {out / 'left-out.tsv'} lists them" in said


def test_a_list_of_what_is_left_out_goes_with_its_reason(noise, settings, tones, tmp_path):
    out = tmp_path / "run"
    data = noise(["low mid", "high " * 60, "mid"])
    Trainer(settings("data.valid=[]", "train.steps=1"), data, out).run()
    assert set(listed(out)) == {"u1"}
    (out / "left-out.tsv").write_text("old")
    Trainer(settings("data.valid=[]", "train.steps=2"), data, out).run()  # it is written anew
    assert set(listed(out)) == {"u1"}
    Trainer(settings("train.steps=1"), tones, tmp_path / "whole").run()
    assert not (tmp_path / "whole" / "left-out.tsv").exists()


def test_a_list_that_cannot_be_written_costs_a_line(noise, settings, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(RunFolder, "write_left_out", full)
    Trainer(settings("data.valid=[]", "train.steps=1"), noise(["low", "mid"]), tmp_path / "run").run()
    said = " ".join(capsys.readouterr().err.split())
    assert f"warning: cannot write {tmp_path / 'run' / 'left-out.tsv'}: No space left on device" in said


def test_texts_without_a_space_in_the_tokenizer_do_not_end_a_run(noise, settings, rows, tmp_path):
    """Above 100 texts a character counts as common, and all texts are read."""
    (tmp_path / "tokenizer").mkdir()
    Symbols("characters", ["a", "b"]).save(tmp_path / "tokenizer")
    data = noise(["a b", "ab", "a\tb", "b\N{EM SPACE}a", " ab "] * 60, 0.2)
    config = settings(
        "data.valid=[]", f"tokenizer.path={tmp_path}/tokenizer", "tokenizer.kind=characters", "train.steps=2"
    )
    trainer = Trainer(config, data, tmp_path / "run")
    trainer.run()
    assert [i % 5 for i in trainer.data.usable.tolist()] == [1, 4] * 60 and len(rows(tmp_path / "run")) == 2
