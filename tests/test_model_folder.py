"""A model's folder: saved and loaded it is the same; damage is named in one line."""

import dataclasses

import pytest
import yaml
from safetensors.torch import load_file, save_file

from rnnt import load
from rnnt.model_folder import find_model, read_config


def folder_of(tmp_path, recognizer):
    recognizer.save(tmp_path / "run" / "best")
    return tmp_path / "run" / "best"


def test_saved_and_loaded_it_is_the_same(recognizer, expected, tmp_path, utterances, same):
    folder = folder_of(tmp_path, recognizer)
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "model.safetensors", "tokenizer.json"]
    for path in (folder, str(folder), tmp_path / "run"):
        loaded = load(path)
        assert loaded.config == recognizer.config and not loaded.training
        for transcript, other in zip(loaded.transcribe(utterances), expected):
            same(transcript, other)
    recognizer.save(folder)
    assert len(list(folder.iterdir())) == 3


def test_global_statistics_are_part_of_the_model(tmp_path, make):
    recognizer = make(features={"normalization": "global"})
    recognizer.features.mean.fill_(3.0)
    loaded = load(folder_of(tmp_path, recognizer))
    assert (loaded.features.mean == 3).all()


def test_an_untouched_folder_is_left_where_saving_fails(recognizer, tmp_path, monkeypatch):
    folder = folder_of(tmp_path, recognizer)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"cannot save .*best: .*No space left on device"):
        recognizer.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def shorten(path):
    path.write_bytes(path.read_bytes()[:-50])


def other_shape(path):
    tensors = load_file(path)
    tensors["model.joint.output.weight"] = tensors["model.joint.output.weight"][:-1].clone()
    save_file(tensors, path)


def missing_tensor(path):
    tensors = load_file(path)
    del tensors["model.joint.output.bias"]
    save_file(tensors, path)


@pytest.mark.parametrize("damage", [shorten, other_shape, missing_tensor, lambda path: path.write_bytes(b"")])
def test_damaged_weights_are_named_in_one_line(recognizer, tmp_path, damage):
    folder = folder_of(tmp_path, recognizer)
    damage(folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or of another model: ") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", "a: [", r"config\.yaml is not readable as YAML"),
        ("config.yaml", "3", r"config\.yaml does not hold settings"),
        ("config.yaml", "optim: {lrr: 1}", r"config\.yaml: unknown key optim\.lrr"),
        ("config.yaml", "seed: !!python/object/apply:os.getcwd []", r"config\.yaml is not readable as YAML"),
        ("config.yaml", None, "is no model and no run: it has no config"),
        ("tokenizer.json", "{}", r"tokenizer\.json is no tokenizer file"),
        ("tokenizer.json", None, r"holds no tokenizer\.model and no tokenizer\.json"),
        ("model.safetensors", None, r"holds no model\.safetensors and no best/model\.safetensors; it has no model yet"),
    ],
)
def test_a_damaged_folder_is_named_in_one_line(recognizer, tmp_path, name, content, message):
    folder = folder_of(tmp_path, recognizer)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_path_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match="gone does not exist; give a model's folder or a run's"):
        find_model(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"holds no model\.safetensors and no best/model\.safetensors$"):
        find_model(tmp_path)


def test_the_configuration_is_complete(recognizer, tmp_path):
    path = folder_of(tmp_path, recognizer) / "config.yaml"
    assert yaml.safe_load(path.read_text()) == dataclasses.asdict(recognizer.config)
    assert read_config(path) == recognizer.config
