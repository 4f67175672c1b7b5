"""The folder of a run: what makes it one, which settings it may be resumed with, its tokenizer and checkpoints."""

import os
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from rnnt.config import TokenizerConfig
from rnnt.model_folder import read_config
from rnnt.ngram.bigram import BIGRAM
from rnnt.recognizer import Recognizer, load
from rnnt.tokenizer import train_tokenizer
from rnnt.training.distributed import Processes
from rnnt.training.run import RunFolder, check_same, lock_run

TEXTS = ["low mid", "high"]
DATA = {"train": "1", "valid": "2"}


@pytest.fixture
def folder_of(settings, tmp_path):
    """folder_of(*overrides, data=): the folder tmp_path/run as a new process with these settings and data finds it."""

    def find(*overrides, data=DATA):
        return RunFolder(tmp_path / "run", settings(*overrides), Processes("cpu"), data)

    return find


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.epochs=5"], ["train.steps=5"], ["train.target_wer=0.1"], ["train.validate_every=2"],
        ["train.validate_from=2"], ["train.checkpoint_every=3"], ["train.keep_checkpoints=1"], ["train.max_skipped=3"],
        ["train.accumulation=2"], ["decoding.batch=3"], ["device=auto"], ["train.epochs=5", "decoding.batch=3"],
    ],
)  # fmt: skip
def test_how_long_how_often_and_on_which_device_may_change(settings, tmp_path, overrides):
    check_same(settings(), settings(*overrides), tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lr=0.02", r"RUN holds a run with optim\.lr=0\.01, not 0\.02; choose another --out, or remove it"),
        ("train.batch=8", r"train\.batch=4, not 8"),
        ("seed=1", "seed=0, not 1"),
        ("model.encoder.lstm.hidden=32", r"model\.encoder\.lstm\.hidden=24, not 32"),
        ("data.train=[train,more]", r"data\.train=\['train'\], not \['train', 'more'\]"),
    ],
)
def test_nothing_else_may_change(settings, tmp_path, override, message):
    with pytest.raises(ValueError, match=message):
        check_same(settings(), settings(override, "train.epochs=5"), "RUN")


def test_a_folder_is_a_run_once_its_settings_are_written(folder_of, settings, tmp_path):
    folder = folder_of()
    assert not folder.resuming and not (tmp_path / "run").exists()
    folder.write(folder.open_tokenizer(TEXTS))
    assert read_config(tmp_path / "run" / "config.yaml") == settings()
    again = folder_of("train.epochs=7")
    assert again.resuming
    again.write(again.open_tokenizer([]))
    assert read_config(tmp_path / "run" / "config.yaml") == settings("train.epochs=7")
    with pytest.raises(ValueError, match="run holds a run with seed=0, not 5"):
        folder_of("seed=5")


def test_the_tokenizer_is_learned_once_and_then_that_of_the_run(folder_of):
    folder = folder_of()
    tokenizer = folder.open_tokenizer(iter(TEXTS))
    assert tokenizer.symbols == ["high", "low", "mid"]
    folder.write(tokenizer)
    assert folder_of().open_tokenizer(["other texts"]).symbols == tokenizer.symbols


def test_a_given_tokenizer_is_taken_and_kept(folder_of, tmp_path):
    (tmp_path / "given").mkdir()
    train_tokenizer(["a b"], TokenizerConfig("words")).save(tmp_path / "given")
    folder = folder_of(f"tokenizer.path={tmp_path}/given")
    tokenizer = folder.open_tokenizer(TEXTS)
    assert tokenizer.symbols == ["a", "b"]
    folder.write(tokenizer)
    (tmp_path / "given" / "tokenizer.json").unlink()
    assert folder_of(f"tokenizer.path={tmp_path}/given").open_tokenizer(TEXTS).symbols == ["a", "b"]


def test_the_newest_checkpoint_is_loaded_by_a_run_that_is_resumed(folder_of):
    folder = folder_of("train.keep_checkpoints=1")
    assert folder.load_newest() == (None, [])
    for step in (1, 2):
        folder.save_checkpoint(step, {"position": {"step": step}})
    assert len(list((folder.path / "checkpoints").iterdir())) == 1
    assert folder.load_newest() == (None, [])  # without settings it is no run
    folder.write(folder.open_tokenizer(TEXTS))
    assert folder_of().load_newest() == ({"position": {"step": 2}}, [])


def test_processes_that_find_different_checkpoints_are_told(folder_of, settings):
    folder = folder_of()
    folder.write(folder.open_tokenizer(TEXTS))
    folder.save_checkpoint(2, {"position": {"step": 2}})
    others = SimpleNamespace(
        from_main=lambda compute: compute(), gather=lambda value: [value, value if value == DATA else 1]
    )
    with pytest.raises(ValueError, match=r"the processes find different checkpoints in .*run; all must see the same"):
        RunFolder(folder.path, settings(), others, DATA).load_newest()


def test_the_best_model_can_be_loaded(folder_of):
    folder = folder_of()
    recognizer = Recognizer(folder.config, folder.open_tokenizer(TEXTS))
    folder.save_best(recognizer)
    loaded = load(folder.path)
    assert loaded.tokenizer.symbols == ["high", "low", "mid"] and loaded.config == folder.config
    for name, value in recognizer.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_the_bigram_model_is_written_once_next_to_the_best_model(folder_of):
    folder = folder_of()
    tokenizer = folder.open_tokenizer(TEXTS)
    path = folder.path / "best" / BIGRAM
    assert folder.save_bigram(lambda: TEXTS, tokenizer) == "" and not path.exists()  # there is no model
    recognizer = Recognizer(folder.config, tokenizer)
    folder.save_best(recognizer)
    assert folder.save_bigram(lambda: [], tokenizer).startswith(f"cannot write {path}: the text is empty")
    assert folder.save_bigram(lambda: TEXTS, tokenizer) == ""
    before = path.read_text()
    assert folder.save_bigram(lambda: ["mid"], tokenizer) == "" and path.read_text() == before
    assert load(folder.path).bigram == path
    folder.save_best(recognizer)  # of a run that goes on
    assert not path.exists()


def test_processes_that_read_different_data_are_told(settings, tmp_path):
    others = SimpleNamespace(gather=lambda value: [value, value | {"valid": "3"}])
    with pytest.raises(ValueError, match="the processes read different data; give all machines the same prepared"):
        RunFolder(tmp_path / "run", settings(), others, DATA)


@pytest.mark.parametrize("changed", ["train", "valid"])
@pytest.mark.parametrize("learned", ["checkpoints/step-00000002", "best"])
def test_a_run_that_has_learned_is_refused_other_data(folder_of, changed, learned):
    folder = folder_of()
    folder.write(folder.open_tokenizer(TEXTS))
    (folder.path / learned).mkdir(parents=True)
    (folder.path / "best" / "model.safetensors").touch() if learned == "best" else None
    assert folder_of("train.epochs=9").resuming
    with pytest.raises(
        ValueError, match=rf"run holds a run on other data: the content of data\.{changed} \({changed}\)"
    ):
        folder_of(data=DATA | {changed: "9"})
    assert folder_of().resuming


def test_a_run_that_has_learned_nothing_begins_anew_with_other_data(folder_of):
    folder = folder_of()
    folder.write(folder.open_tokenizer(TEXTS))
    other = folder_of(data=DATA | {"train": "9"})
    assert not other.resuming
    tokenizer = other.open_tokenizer(["other texts"])
    assert tokenizer.symbols == ["other", "texts"]
    other.write(tokenizer)
    assert not folder_of().resuming
    assert folder_of(data=DATA | {"train": "9"}).open_tokenizer(TEXTS).symbols == ["other", "texts"]


@pytest.mark.parametrize("call", range(1, 6))
def test_a_kill_while_a_run_begins_anew_leaves_no_tokenizer_of_other_data(folder_of, killed_at, call):
    folder = folder_of()
    folder.write(folder.open_tokenizer(TEXTS))
    other = folder_of(data=DATA | {"train": "9"})
    tokenizer = other.open_tokenizer(["other texts"])
    with killed_at(os, "replace", call) if call < 4 else nullcontext():
        other.write(tokenizer)
    for data, texts in ((DATA, TEXTS), (DATA | {"train": "9"}, ["other texts"])):
        found = folder_of(data=data).open_tokenizer(texts)
        assert found.symbols == sorted(set(" ".join(texts).split()))


def test_a_run_of_an_earlier_version_is_resumed_and_then_knows_its_data(folder_of):
    folder = folder_of()
    tokenizer = folder.open_tokenizer(TEXTS)
    folder.write(tokenizer)
    (folder.path / "fingerprints.json").unlink()
    assert not folder_of().resuming  # it has learned nothing
    (folder.path / "checkpoints" / "step-00000002").mkdir(parents=True)
    resumed = folder_of()
    assert resumed.resuming and resumed.open_tokenizer([]).symbols == tokenizer.symbols
    resumed.write(tokenizer)
    with pytest.raises(ValueError, match="other data"):
        folder_of(data=DATA | {"valid": "9"})


@pytest.mark.parametrize("content", ["", "[]", '{"train": 1}', "{", "[" * 100_000, "\udc80"])
def test_damaged_fingerprints_are_named(folder_of, content):
    folder = folder_of()
    folder.write(folder.open_tokenizer(TEXTS))
    (folder.path / "fingerprints.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"fingerprints\.json is damaged; if you are sure"):
        folder_of()


def test_another_tokenizer_is_refused(folder_of, tmp_path):
    (tmp_path / "given").mkdir()
    train_tokenizer(["a b"], TokenizerConfig("words")).save(tmp_path / "given")
    override = f"tokenizer.path={tmp_path}/given"
    folder = folder_of(override)
    folder.write(folder.open_tokenizer(TEXTS))
    assert folder_of(override).open_tokenizer(TEXTS).symbols == ["a", "b"]
    train_tokenizer(["b c"], TokenizerConfig("words")).save(tmp_path / "given")
    with pytest.raises(ValueError, match=r"given\) holds another tokenizer than the one that the run in .*run began"):
        folder_of(override).open_tokenizer(TEXTS)
    train_tokenizer(["a b"], TokenizerConfig("words")).save(tmp_path / "given")
    train_tokenizer(["b c"], TokenizerConfig("words")).save(folder.path)
    with pytest.raises(ValueError, match=r"the tokenizer in .*run is not the one that the run began with; put that"):
        folder_of(override).open_tokenizer(TEXTS)


def test_the_lock_of_a_run_excludes_a_second_program(tmp_path):
    with lock_run(tmp_path / "new" / "run"):
        refused = pytest.raises(
            ValueError, match=r"another program trains in .*run; wait for its end, or choose another"
        )
        with refused, lock_run(tmp_path / "new" / "run"):
            raise AssertionError("two hold the lock")
    with lock_run(tmp_path / "new" / "run"):
        pass
