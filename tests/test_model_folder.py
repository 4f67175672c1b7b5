"""A model's folder: saved and loaded it is the same; damage is named in one line."""

import dataclasses
import itertools
import os
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from rnnt import load
from rnnt.config import TokenizerConfig
from rnnt.model_folder import find_model, read_config
from rnnt.ngram.bigram import BIGRAM
from rnnt.tokenizer import Symbols, train_tokenizer


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
        ("config.yaml", "device: ${oc.env:HOME}", r"config\.yaml: device holds '\$\{oc\.env:HOME\}'; settings "),
        ("config.yaml", "a: &a [*a]", r"config\.yaml is not readable as YAML: aliases are not allowed"),
        ("config.yaml", "[" * 100_000, r"config\.yaml is not readable as YAML: it is nested more than 20 levels"),
        ("config.yaml", "#" * 300_000, r"config\.yaml is too long for settings"),
        ("config.yaml", "\udcff", r"config\.yaml is not readable as YAML: 'utf-8' codec can't decode"),
        ("config.yaml", "seed: " + "9" * 5000, r"config\.yaml is not readable as YAML: Exceeds the limit"),
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
        (folder / name).write_text(content, errors="surrogateescape")
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


def change(folder, key, value):
    """Change a setting in a model's config.yaml."""
    tree = yaml.safe_load((folder / "config.yaml").read_text())
    *sections, name = key.split(".")
    holder = tree
    for section in sections:
        holder = holder[section]
    holder[name] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.encoder.lstm.hidden", 10**9, r"config\.yaml: model\.encoder\.lstm\.hidden is 1000000000; it must be "),
        ("model.encoder.lstm.pre_layers", 10**6, r"config\.yaml: model\.encoder\.lstm\.pre_layers is 1000000; it must"),
        ("features.n_fft", 10**9, r"config\.yaml: features\.n_fft is 1000000000; it must be between 2 and 65536"),
        ("features.sample_rate", 10**9, r"config\.yaml: features\.sample_rate is 1000000000; it must be between 1000 "),
        ("features.hop", 1, r"config\.yaml: features\.hop is 1; it must be at least features\.sample_rate / 1000"),
        ("decoding.max_symbols", 10**18, r"config\.yaml: decoding\.max_symbols is 1000000000000000000; it must be "),
        # Sizes that are allowed: hundreds of gigabytes, which the weights' header does not have.
        ("model.encoder.lstm.hidden", 65536, r"model\.encoder\.\S+ is \([\d, ]+\), but \([\d, ]*262144.*\) by config"),
        ("model.encoder.lstm.pre_layers", 100, r"it lacks model\.encoder\.pre\."),
        ("model.encoder.lstm.time_stack", 100, r"is \([\d, ]+\), but \([\d, ]+\) by config"),
        ("model.predictor.embedding", 65536, r"model\.predictor\.embedding\.weight is \(3, 8\), but \(3, 65536\) by"),
        ("model.predictor.hidden", 65536, r"is \([\d, ]+\), but \([\d, ]+\) by config"),
        ("model.joint.hidden", 65536, r"is \([\d, ]+\), but \([\d, ]+\) by config"),
        ("features.mels", 1024, r"is \([\d, ]+\), but \([\d, ]+\) by config"),
        ("features.stack", 100, r"is \([\d, ]+\), but \([\d, ]+\) by config"),
        ("features.normalization", "global", r"it lacks features\.mean"),
        ("model.encoder.lstm.bidirectional", True, r"it lacks model\.encoder\."),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused_before_anything_is_allocated(
    recognizer, tmp_path, key, value, message
):
    folder = folder_of(tmp_path, recognizer)
    change(folder, key, value)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert torch.equal(torch.get_rng_state(), before)  # no network was initialized


def test_more_symbols_than_the_weights_have_are_refused(recognizer, tmp_path):
    folder = folder_of(tmp_path, recognizer)
    Symbols("words", [str(i) for i in range(200_000)]).save(folder)
    with pytest.raises(ValueError, match=r"is \(\d+,.*\), but \(\d+,.*\) by config\.yaml and the tokenizer"):
        load(folder)


def test_weights_beyond_this_machine_are_refused(recognizer, tmp_path, monkeypatch):
    folder = folder_of(tmp_path, recognizer)
    monkeypatch.setattr("os.sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 2)
    with pytest.raises(ValueError, match=r"its weights take 0\.0 GB, and this machine has 0\.0 GB"):
        load(folder)


def test_weights_with_what_is_no_finite_number_are_refused(tmp_path, make):
    recognizer = make(features={"normalization": "global"})
    folder = folder_of(tmp_path, recognizer)
    tensors = load_file(folder / "model.safetensors")
    cases = [
        (torch.nan, torch.float32),
        (torch.inf, torch.float16),
        (-torch.inf, torch.bfloat16),
        (1e300, torch.float64),
    ]
    for (name, value), (bad, dtype) in zip(tensors.items(), itertools.cycle(cases)):
        damaged = value.to(dtype, copy=True)
        damaged.view(-1)[-1] = bad
        save_file({**tensors, name: damaged}, folder / "model.safetensors")
        with pytest.raises(ValueError, match=rf"model\.safetensors: {name} holds NaN or infinity"):
            load(folder)


def test_weights_of_other_number_formats(recognizer, tmp_path, utterances):
    folder = folder_of(tmp_path, recognizer)
    tensors = load_file(folder / "model.safetensors")
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        save_file({name: value.to(dtype) for name, value in tensors.items()}, folder / "model.safetensors")
        assert next(load(folder).parameters()).dtype == torch.float32
    for dtype in (torch.int32, torch.bool):
        save_file({name: value.to(dtype) for name, value in tensors.items()}, folder / "model.safetensors")
        with pytest.raises(ValueError, match=r"is damaged or of another model: .* holds numbers of type (I32|BOOL)"):
            load(folder)


FILES = ("config.yaml", "tokenizer.json", "model.safetensors")


@pytest.mark.parametrize("name", FILES)
def test_a_link_out_of_the_folder_is_refused(recognizer, tmp_path, name):
    folder = folder_of(tmp_path, recognizer)
    (folder / name).rename(tmp_path / name)
    for target in (tmp_path / name, f"../../{name}"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
        with pytest.raises(ValueError, match=rf"{name} is a link to {tmp_path}/{name}, outside its folder; .* cp -rL$"):
            load(folder)
    (folder / name).unlink()
    (folder / "real").mkdir()
    (tmp_path / name).rename(folder / "real" / name)
    (folder / name).symlink_to(f"real/{name}")
    assert load(folder).config == recognizer.config
    (tmp_path / "elsewhere").symlink_to(folder)
    assert load(tmp_path / "elsewhere").config == recognizer.config


def test_the_cache_of_the_hub_is_links(recognizer, tmp_path):
    folder = folder_of(tmp_path, recognizer)
    snapshot = tmp_path / "models--me--mine" / "snapshots" / "0123"
    blobs = tmp_path / "models--me--mine" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in FILES:
        (folder / name).rename(blobs / f"sum-of-{name}")
        (snapshot / name).symlink_to(f"../../blobs/sum-of-{name}")
    assert load(snapshot).config == recognizer.config


def test_no_file_outside_a_model_is_opened(recognizer, tmp_path, utterances):
    opened, watching = [], False

    def watch(event, arguments):
        if watching and event == "open" and not isinstance(arguments[0], int):
            opened.append(os.fspath(arguments[0]))

    folder = folder_of(tmp_path, recognizer)
    bait = tmp_path / "bait"
    bait.mkdir()
    Symbols("words", ["stolen"]).save(bait)
    change(folder, "tokenizer.path", str(bait))
    change(folder, "data.train", [str(bait / "*")])
    load(folder).transcribe(utterances[:1])  # imports what it needs
    sys.addaudithook(watch)  # for good: Python cannot remove it
    watching = True
    loaded = load(folder)
    loaded.transcribe(utterances[:1])
    watching = False
    assert loaded.tokenizer.symbols == recognizer.tokenizer.symbols
    assert any("config.yaml" in path for path in opened)
    assert [path for path in opened if not path.startswith((str(folder), "/proc/", "/sys/"))] == []


def test_a_target_in_percent_of_an_earlier_version_does_not_matter(recognizer, tmp_path):
    folder = folder_of(tmp_path, recognizer)
    for value, read in ((5.8, 1.0), (7, 1.0), (0.058, 0.058)):
        change(folder, "train.target_wer", value)
        assert load(folder).config.train.target_wer == read


def test_one_kind_of_tokenizer_is_left_and_config_yaml_names_it(tmp_path, make, utterances, expected, same):
    recognizer = make()
    folder = folder_of(tmp_path, recognizer)
    train_tokenizer(["a b c"], TokenizerConfig("sentencepiece", 8)).save(folder)
    for transcript, other in zip(load(folder).transcribe(utterances), expected):
        same(transcript, other)  # the folder holds two kinds, and config.yaml says which
    change(folder, "tokenizer.kind", "sentencepiece")
    with pytest.raises(ValueError, match=r"by config\.yaml and the tokenizer"):
        load(folder)
    (folder / "tokenizer.model").unlink()
    loaded = load(folder)  # as earlier versions saved it: the kind is wrong, and there is one tokenizer
    train_tokenizer(["a b c"], TokenizerConfig("sentencepiece", 8)).save(folder)
    loaded.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert read_config(folder / "config.yaml").tokenizer.kind == "words"
    for transcript, other in zip(load(folder).transcribe(utterances), expected):
        same(transcript, other)


def test_the_bigram_model_goes_with_the_model(recognizer, make, tmp_path):
    folder = folder_of(tmp_path, recognizer)
    assert load(folder).bigram is None
    (folder / BIGRAM).write_text("a bigram model")
    loaded = load(folder)
    for other in (tmp_path / "other", folder):
        loaded.save(other)
        assert (other / BIGRAM).read_text() == "a bigram model"
    make().save(folder)
    assert not (folder / BIGRAM).exists()


def test_a_bigram_model_outside_the_folder_is_refused(recognizer, tmp_path):
    folder = folder_of(tmp_path, recognizer)
    (tmp_path / "secret").write_text("")
    (folder / BIGRAM).symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=rf"{BIGRAM} is a link to {tmp_path}/secret, outside its folder"):
        load(folder)
