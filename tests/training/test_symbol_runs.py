"""Training on symbols: the pipeline of audio, from dataset to transcript, with letters as input."""

from pathlib import Path

import numpy as np
import pytest
import torch

import rnnt
from rnnt.dataset import Dataset, write_split
from rnnt.error_rate import word_error_rate
from rnnt.settings import load_config
from rnnt.shard import StoredUtterance
from rnnt.training.step import Stepper
from rnnt.training.trainer import Trainer

SOUNDS = {"a": "A", "b": "B", "c": "K", "d": "D", "e": "E"}
SMALL = (
    "device=cpu", "model.encoder.lstm.hidden=24", "model.predictor.hidden=16", "model.predictor.embedding=8",
    "model.joint.hidden=24", "symbols.embedding=12", "train.batch=16", "train.epochs=2", "data.buckets=2",
    "optim.lr=0.01", "model.encoder.lstm.dropout=0.1", "model.predictor.dropout=0.1", "model.joint.dropout=0.1",
)  # fmt: skip


def pronounce(word: str) -> str:
    """Name each letter's sound. A doubled letter has one sound, and x has two: inputs and outputs differ in length."""
    letters = [letter for letter, before in zip(word, " " + word) if letter != before]
    return " ".join("K S" if letter == "x" else SOUNDS[letter] for letter in letters)


def write_words(folder: Path, count: int, seed: int, letters: str = "abcdex") -> None:
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list(letters), rng.integers(1, 8))) for _ in range(count)]
    found = [StoredUtterance(f"{number}", list(word), pronounce(word)) for number, word in enumerate(words)]
    write_split(folder, found, source="made up")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    write_words(folder / "train", 300, 0)
    write_words(folder / "dev", 60, 1)
    return folder


def settings(*overrides):
    return load_config("g2p", [*SMALL, *overrides])


def test_it_learns_and_the_model_opens(words, tmp_path):
    config = settings("train.epochs=12", "decoding.method=greedy", "data.max_symbols=7")
    Trainer(config, words, tmp_path / "run").run()
    model = rnnt.load(tmp_path / "run")
    result = model.evaluate(Dataset(words / "dev"))
    assert word_error_rate(result.pairs).rate < 0.05 and not result.skipped and not result.without_loss
    assert [pair.hypothesis for pair in result.pairs][:3] != ["", "", ""]
    assert model.alphabet.symbols == list("abcdex") and {pair.seconds for pair in result.pairs} == {0.0}


def test_a_result_does_not_depend_on_the_batch(words, tmp_path):
    Trainer(settings(), words, tmp_path / "run").run()
    model, dev = rnnt.load(tmp_path / "run"), Dataset(words / "dev")
    one, many = (model.evaluate(dev, batch_size=size) for size in (1, 60))
    assert [pair.hypothesis for pair in one.pairs] == [pair.hypothesis for pair in many.pairs]
    assert one.loss == pytest.approx(many.loss, rel=1e-5)


def test_a_killed_run_resumes_bit_for_bit(words, tmp_path, killed_at, state_of, assert_same):
    """Also with dropout and symbols that are replaced at random."""
    config = settings("train.checkpoint_every=4", "symbols.unknown=0.2", "symbols.dropout=0.1")
    Trainer(config, words, tmp_path / "whole").run()
    with killed_at(Stepper, "take", 12):
        Trainer(config, words, tmp_path / "killed").run()
    Trainer(config, words, tmp_path / "killed").run()
    whole, killed = state_of(tmp_path / "whole"), state_of(tmp_path / "killed")
    assert_same(whole["recognizer"], killed["recognizer"])
    assert any(name.startswith("model.encoder.embedding") for name in whole["recognizer"])


def test_unknown_symbols_are_decoded_and_long_words_left_out(words, tmp_path):
    data = tmp_path / "data"
    long = [StoredUtterance("long", list("ab" * 250), "A B"), StoredUtterance("wordy", ["a"], "A " * 101)]
    known = [Dataset(words / "train")[i] for i in range(40)]
    write_split(data / "train", [*known, *long], source="made up")
    odd = [StoredUtterance("odd", list("b\u00e9q\u0301"), "B E"), StoredUtterance("other", ["a", "b"], "Z")]
    write_split(data / "dev", [*odd, *long], source="made up")
    Trainer(settings(), data, tmp_path / "run").run()
    left = (tmp_path / "run" / "left-out.tsv").read_text()
    assert "long\tit has 500 symbols, more than data.max_symbols=200" in left
    assert "wordy\tits text has 101 symbols for 1 input symbols, more than 100 for each" in left
    model = rnnt.load(tmp_path / "run")
    assert model.alphabet.encode(list("b\u00e9q")).tolist()[-1] == model.alphabet.unknown
    result = model.evaluate(Dataset(data / "dev"))
    assert result.decoded == 4 and len(result.pairs) == 4 and not result.skipped
    assert dict(result.without_loss)["other"] == "unknown to the tokenizer: 'Z'"


def test_another_alphabet_in_the_run_is_refused(words, tmp_path):
    Trainer(settings("train.steps=2"), words, tmp_path / "run").run()
    path = tmp_path / "run" / "alphabet.json"
    path.write_text(path.read_text().replace('"x"', '"y"'))
    with pytest.raises(ValueError, match=r"the alphabet in .* is not the one that the run began with"):
        Trainer(settings("train.steps=4"), words, tmp_path / "run")


def test_audio_and_symbols_are_not_mixed_up(words, tones, tmp_path):
    with pytest.raises(ValueError, match="holds audio, and these settings are for symbols"):
        Trainer(settings("data.valid=[]"), tones, tmp_path / "a")
    with pytest.raises(ValueError, match="holds symbols, and these settings are for audio"):
        Trainer(load_config("small", ["data.valid=[]", "device=cpu"]), words, tmp_path / "b")
    Trainer(settings("train.steps=2"), words, tmp_path / "run").run()
    model = rnnt.load(tmp_path / "run")
    with pytest.raises(ValueError, match="this model reads symbols"):
        model.transcribe([torch.zeros(16000, dtype=torch.int16)])
    with pytest.raises(ValueError, match="this model reads symbols"):
        model.evaluate(Dataset(tones / "valid"))
