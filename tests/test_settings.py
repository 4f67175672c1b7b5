"""Settings: reading, overrides, error messages that say how to mend, writing and listing."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from rnnt import cli
from rnnt.config import Config, DecodingConfig
from rnnt.model_folder import read_config
from rnnt.settings import choose_decoding, from_tree, load_config, presets, settings_table, to_yaml

ROOT = Path(__file__).resolve().parents[1]


def leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.fixture
def file(tmp_path):
    """Write a YAML file and give its path."""

    def write(text, name="settings.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize("name", presets())
def test_a_preset_loads_and_comes_back_from_its_yaml(name):
    config = load_config(name)
    tree = yaml.safe_load(to_yaml(config))
    assert tree == dataclasses.asdict(config)
    assert from_tree(tree, "there") == config


def others(value):
    """Values of the same type, of which a setting should take at least one."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, list):
        return [[*value, "another"], [*value, 3]]
    if isinstance(value, str):
        names = ["none", "words", "tanh", "adamw", "cosine", "bfloat16", "additive", "beam", "symbols", "partial"]
        return [*names, "zeros", "max", "hamming", "mfcc", "conformer", "layer", "else"]
    if isinstance(value, int):
        return [value + 3, value - 3, 2 * value, value // 2, value + 2]
    return [value + 0.125, value - 0.125, value / 2, value * 2]


KEYS = [key for key, _ in leaves(dataclasses.asdict(Config()))]


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_survives_the_round_trip(key):
    """No setting is forgotten on the way to the file or back."""
    base = OmegaConf.create({"features": {"stack": 1, "n_fft": 512, "window": 320, "hop": 160, "high_hz": 8000.0}})
    old = dict(leaves(dataclasses.asdict(from_tree(base, "there"))))
    for value in others(old[key]):
        changed = base.copy()
        OmegaConf.update(changed, key, value, force_add=True)
        try:
            config = from_tree(changed, "there")
        except ValueError:
            continue
        assert {**old, key: value} == dict(leaves(dataclasses.asdict(config)))
        assert from_tree(yaml.safe_load(to_yaml(config)), "there") == config
        return
    pytest.fail("no other value is taken")


def test_files_and_overrides_are_merged(file):
    path = file("optim: {lr: 0.01}\ntrain: {batch: 12}\n")
    config = load_config(
        path, ["optim.lr=0.02", "data.train=[a,train-*]", "tokenizer.path=x=y", "train.ema_warmup=true"]
    )
    assert (config.optim.lr, config.train.batch, config.train.ema_warmup) == (0.02, 12, True)
    assert (config.data.train, config.tokenizer.path) == (["a", "train-*"], "x=y")
    assert load_config(file("")) == load_config(file("optim: {}\nmodel: {encoder: {}}")) == Config()
    assert load_config(file("optim: {lr: 1e-3}")).optim.lr == 1e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim: {lrr: 1}", r"settings\.yaml: unknown key optim\.lrr; did you mean optim\.lr\?"),
        ("nonsense: 1", r"settings\.yaml: unknown key nonsense"),
        ("optim: {lr: abc}", r"optim\.lr: Value 'abc' of type 'str' could not be converted to Float"),
        ("train: {batch: 1.5}", r"train\.batch: Value '1\.5'"),
        ("train: {ema_warmup: maybe}", r"train\.ema_warmup: Value 'maybe' is not a valid bool"),
        ("optim: {lr: }", r"optim\.lr: .*None"),
        ("optim: {lr: -1}", r"settings\.yaml: optim\.lr is -1\.0; it must be finite and above 0$"),
        ("model: {joint: {durations: 3}}", r"model\.joint\.durations: it must be a list, such as \[0,1,2,3,4\]$"),
        ("model: {joint: {durations: [a]}}", r"model\.joint\.durations"),
        ("data: {train: all}", r"settings\.yaml: data\.train: it must be a list, such as \[train"),
        ("optim: 3", r"settings\.yaml: optim is a section; set what is in it, such as optim\.name"),
        ("model: {encoder: }", r"model\.encoder is a section"),
        ("optim:\n - lr", "optim is a section"),
        ("a: [1", r"settings\.yaml is not readable as YAML"),
        ("optim: {lr: 1}\noptim: {lr: 2}", "is not readable as YAML: .*duplicate key"),
        ("- a\n- b", r"settings\.yaml"),
        ("just text", r"settings\.yaml does not hold settings"),
        (b"\xff\xfe\x00", "is not readable as YAML"),
    ],
)
def test_a_mistake_in_a_file_is_named_in_one_line(file, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_config(file(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lr", r"'optim\.lr' is no setting; write it as key=value"),
        ("optm.lr=3", r"^'optm\.lr=3': unknown key optm\.lr; did you mean optim\.lr\?"),
        ("train.epochs=many", r"^'train\.epochs=many': train\.epochs: Value 'many' of type 'str' could not"),
        ("data.valid=[valid", r"^'data\.valid=\[valid' is not readable as YAML"),
        ("data.valid=valid", r"^'data\.valid=valid': data\.valid: it must be a list"),
        ("optim.lr.x=3", r"unknown key optim\.lr\.x"),
        ("optim=3", "optim is a section"),
        ("optim.lr=", r"optim\.lr: .*None"),
        ("optim.lr=${nope}", r"^'optim\.lr=\$\{nope\}': optim\.lr holds '\$\{nope\}'; settings stand for themselves, "),
        ("optim.lr=[1]", r"^'optim\.lr=\[1\]': optim\.lr is a list; give one value$"),
        ("features.sample_rate=[1]", r"': features\.sample_rate is a list; give one value$"),
        ("features.sample_rate=fast", r"': features\.sample_rate: Value 'fast' of type 'str' could not"),
        ("features.sample_rate=0", r"': features\.sample_rate is 0; it must be between 1000 and 384000$"),
        ("features.sample_rate=4", r"': features\.sample_rate is 4; it must be between 1000 and 384000$"),
        ("optim.lr=0", r"^'optim\.lr=0': optim\.lr is 0\.0; it must be finite and above 0$"),
        ("optim.name=adam", r"^'optim\.name=adam': optim\.name is 'adam'; it must be one of lamb, adamw, sgd$"),
        ("seed=-1", r"^'seed=-1': seed is -1; it must be between 0 and 9223372036854775807$"),
        ("lr=3", r"^'lr=3': unknown key lr; did you mean optim\.lr\?$"),
        ("xyzzy=3", r"^'xyzzy=3': unknown key xyzzy; `rnnt settings` lists all$"),
        ("augment.speed_max=1.7", r"^'augment\.speed_max=1\.7': features\.window is 320; for augment\.speed_max"),
        ("model.encoder.dropout=1.5", r"^'model\.encoder\.dropout=1\.5': model\.encoder\.lstm\.dropout is 1\.5;"),
        ("data.train=[]", r"^'data\.train=\[\]': data\.train names no split"),
        ("train.accumulation=5", r"^'train\.accumulation=5': train\.batch is 384; it must be a multiple of"),
    ],
)
def test_a_mistake_in_an_override_is_named_in_one_line(file, override, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_config(file(""), [override])
    assert "\n" not in str(caught.value)


def test_a_file_and_overrides_of_different_shapes(file):
    with pytest.raises(ValueError, match=r"settings\.yaml does not go together with optim\.lr=3"):
        load_config(file("optim: [a]"), ["optim.lr=3"])


# Hostile files of settings, and the error messages about them.
BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi"))
HOSTILE = {
    "environment": ("device: ${oc.env:RNNT_TEST_TOKEN}", r"device holds .*; settings stand for"),
    "environment in quotes": ('device: "$\\x7boc.env:RNNT_TEST_TOKEN}"', r"device holds .*; settings stand for"),
    "environment in a list": ("data: {train: ['${oc.env:RNNT_TEST_TOKEN}']}", r"data\.train holds .*; settings stand"),
    "environment in a word": ("tokenizer: {path: 'a/${oc.env:RNNT_TEST_TOKEN}'}", r"tokenizer\.path holds "),
    "environment as a key": ("'${oc.env:RNNT_TEST_TOKEN}': 1", "unknown key "),
    "other setting": ("device: ${precision}", r"device holds .*; settings stand for"),
    "half an interpolation": ("device: ${", r"device holds .*; settings stand for"),
    "escaped interpolation": (r"device: \${x}", r"device holds .*; settings stand for"),
    "missing value": ("optim: {lr: '???'}", r"optim\.lr holds '\?\?\?'; settings stand for themselves"),
    "alias": ("optim: &a {lr: 1}\nschedule: {<<: *a}", "aliases are not .*; write the value out .line 2, column 16"),
    "bomb": (BOMB, "aliases are not allowed"),
    "recursion": ("&a {data: *a}", "aliases are not allowed"),
    "recursive list": ("data: {train: &a [*a]}", "aliases are not allowed"),
    "brackets": ("data: {train: " + "[" * 100_000, "nested more than 20 levels"),
    "sections": ("a: {" * 5_000, "nested more than 20 levels"),
    "long": ("device: cpu #" + "x" * 300_000, r"settings\.yaml is too long for settings: more than 256 KiB"),
    "object": ("device: !!python/object/apply:os.getcwd []", "not readable as YAML: could not determine"),
    "bytes": ("device: !!binary aGk=", "device holds b'hi'; give a number or a word"),
    "set": ("data: {train: !!set {a, b}}", r"data\.train holds .*; give a number or a word"),
    "list in a list": ("data: {train: [[a]]}", r"data\.train holds \['a'\]; give a number or a word"),
    "section in a list": ("data: {train: [{a: 1}]}", r"data\.train holds \{'a': 1\}; give a number or a word"),
    "section without settings": ("data: {valid: {}}", r"data\.valid holds \{\}; give a number or a word"),
    "huge number": ("optim: {lr: " + "9" * 400 + "}", r"optim\.lr holds 9+; the number is too large"),
    "huge count": ("train: {epochs: " + "9" * 30 + "}", r"train\.epochs holds 9+; the number is too large"),
    "endless number": ("seed: " + "9" * 5000, "is not readable as YAML: Exceeds the limit"),
    "odd keys": ("? [a]\n: 1", "is not readable as YAML"),
    "key of two lines": ('"a\\nb": 1', "unknown key a b"),
    "no key": ("? \n: 1", "unknown key None"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(name, file, monkeypatch):
    monkeypatch.setenv("RNNT_TEST_TOKEN", "secret")
    text, message = HOSTILE[name]
    with pytest.raises(ValueError, match=message) as caught:
        load_config(file(text))
    said = str(caught.value)
    assert "\n" not in said and "secret" not in said and len(said) < 500


@pytest.mark.parametrize(
    "override",
    ["device=${oc.env:RNNT_TEST_TOKEN}", "data.train=['${oc.env:RNNT_TEST_TOKEN}']", "tokenizer.path=a/${precision}",
     "device=${", "optim.lr=???", "data={train: &a [*a]}", "data.train=" + "[" * 100_000, "optim.lr=" + "9" * 400,
     "seed=" + "9" * 5000, "device=!!python/object/apply:os.getcwd []", "device=!!binary aGk=", "data.train=[[a]]",
     "device='", "device=\x1b[31m"],
    ids=lambda override: override[:20],
)  # fmt: skip
def test_a_hostile_override_is_refused_in_one_line(override, file, monkeypatch):
    monkeypatch.setenv("RNNT_TEST_TOKEN", "secret")
    with pytest.raises(ValueError, match=r"^[\"']") as caught:
        load_config(file(""), [override])
    said = str(caught.value)
    assert "\n" not in said and "secret" not in said and len(said) < 500


@pytest.mark.parametrize(
    "override",
    ["=3", ".=3", "optim..lr=3", "optim.=3", ".optim=3", "optim[lr]=3", "data.train[0]=x", "." * 10_000 + "=1",
     "a." * 10_000 + "a=1", "${oc.env:RNNT_TEST_TOKEN}=1"],
    ids=lambda override: override[:20],
)  # fmt: skip
def test_an_odd_key_is_unknown(override, file, monkeypatch):
    monkeypatch.setenv("RNNT_TEST_TOKEN", "secret")
    with pytest.raises(ValueError, match="unknown key ") as caught:
        load_config(file(""), [override])
    assert "secret" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_tree_from_python_does_not_read_the_environment(monkeypatch):
    monkeypatch.setenv("RNNT_TEST_TOKEN", "secret")
    for tree in ({"device": "${oc.env:RNNT_TEST_TOKEN}"}, OmegaConf.create({"device": "${oc.env:RNNT_TEST_TOKEN}"})):
        with pytest.raises(ValueError, match=r"^here: device holds .*; settings stand for themselves"):
            from_tree(tree, "here")


def test_words_that_look_like_dates_and_numbers_stay_words(file):
    path = file("data: {train: [2024-01-01, 1e3, train]}\ntokenizer: {path: 2024-01-01}")
    config = load_config(path, ["data.valid=[2024-05-06]"])
    assert (config.data.train, config.data.valid) == (["2024-01-01", "1e3", "train"], ["2024-05-06"])
    assert config.tokenizer.path == "2024-01-01" and from_tree(yaml.safe_load(to_yaml(config)), "x") == config


def test_a_missing_file_or_preset_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no configuration file .*gone\.yaml"):
        load_config(tmp_path / "gone.yaml")
    with pytest.raises(ValueError, match=r"no preset 'digit'; there are .*digits.* or give a \.yaml file"):
        load_config("digit")


def test_settings_of_the_encoder_by_their_earlier_keys_are_taken(file):
    old = file("model: {encoder: {hidden: 24, bidirectional: true}}\n")
    new = file("model: {encoder: {lstm: {hidden: 24, bidirectional: true}}}\n", "new.yaml")
    assert load_config(old) == load_config(new)
    assert load_config(new, ["model.encoder.hidden=48"]).model.encoder.lstm.hidden == 48
    assert load_config(old, ["model.encoder.lstm.hidden=48"]).model.encoder.lstm.hidden == 48
    tree = {"model": {"encoder": {"hidden": 24}}}
    assert from_tree(tree, "here").model.encoder.lstm.hidden == 24 and tree == {"model": {"encoder": {"hidden": 24}}}


def lengths(config):
    features = config.features
    return features.sample_rate, features.n_fft, features.window, features.hop, features.high_hz


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("", [], (16000, 512, 320, 160, 8000)),
        ("", ["features.sample_rate=8000"], (8000, 256, 160, 80, 4000)),
        ("features: {sample_rate: 8000}", [], (8000, 256, 160, 80, 4000)),
        ("features: {sample_rate: '8000'}", [], (8000, 256, 160, 80, 4000)),
        ("", ["features.sample_rate=44100"], (44100, 2048, 882, 441, 8000)),
        ("", ["features.sample_rate=11025"], (11025, 512, 220, 110, 5512.5)),
        # A setting in the same file or command as the rate is kept as it is.
        ("features: {sample_rate: 8000, hop: 100}", [], (8000, 256, 160, 100, 4000)),
        ("", ["features.hop=100", "features.sample_rate=8000"], (8000, 256, 160, 100, 4000)),
        ("features: {sample_rate: 8000, window: 320, hop: 160, n_fft: 512}", [], (8000, 512, 320, 160, 4000)),
        # A setting that was made for one rate is scaled when another rate is chosen.
        ("features: {hop: 100, n_fft: 400, high_hz: 3000}", ["features.sample_rate=8000"], (8000, 256, 160, 50, 3000)),
        ("features: {sample_rate: 8000}", ["features.sample_rate=16000"], (16000, 512, 320, 160, 8000)),
        ("features: {sample_rate: 8000, hop: 100}", ["features.sample_rate=16000"], (16000, 512, 320, 200, 8000)),
        ("features: {n_fft: 400, sample_rate: 16000}", ["features.sample_rate=16000"], (16000, 400, 320, 160, 8000)),
    ],
)  # fmt: skip
def test_lengths_in_samples_follow_the_sample_rate(file, text, overrides, expected):
    config = load_config(file(text), overrides)
    assert lengths(config) == expected
    assert from_tree(yaml.safe_load(to_yaml(config)), "there") == config  # a complete file stands as it is


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_every_preset_takes_another_sample_rate(preset, rate):
    old, new = load_config(preset).features, load_config(preset, [f"features.sample_rate={rate}"]).features
    for name in ("window", "hop"):
        assert getattr(new, name) / rate == pytest.approx(getattr(old, name) / old.sample_rate, rel=0.01)
    assert new.n_fft / rate >= old.n_fft / old.sample_rate and new.n_fft & (new.n_fft - 1) == 0
    assert new.high_hz == min(old.high_hz, rate / 2)


def test_a_run_of_an_earlier_version_keeps_its_lengths(tmp_path):
    """Earlier versions did not scale them. Their files are complete, so every length is given."""
    old = dataclasses.asdict(Config())
    old["features"] |= {"sample_rate": 8000, "high_hz": 4000.0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    assert lengths(read_config(tmp_path / "config.yaml")) == (8000, 512, 320, 160, 4000)
    assert lengths(load_config(tmp_path / "config.yaml")) == (8000, 512, 320, 160, 4000)


def call(monkeypatch, *words) -> int:
    monkeypatch.setattr("sys.argv", ["rnnt", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0


def test_the_table_has_each_key_with_its_default_and_its_explanation(file):
    lines = settings_table().splitlines()
    keys = [line.split()[0] for line in lines]
    assert keys == [key for key, _ in leaves(dataclasses.asdict(Config()))]
    width = max(map(len, keys)) + 2
    for key, line in zip(keys, lines):
        assert line[: len(key) + 1] == f"{key} " and line[width - 2 : width] == "  " and line[width] != " "
        default, explanation = line[width:].split(maxsplit=1)
        assert load_config(file(""), [f"{key}={default}"]) == Config()  # the default as it is written in KEY=VALUE
        assert explanation
    assert len({line.index(line[width:].split(maxsplit=1)[1]) for line in lines}) == 1  # a third column
    (line,) = [line for line in lines if line.startswith("schedule.minimum")]
    assert line.split(maxsplit=2)[1:] == ["1e-05", "lowest learning rate"]


def test_the_table_of_a_section_or_a_key():
    everything = {line.split()[0] for line in settings_table().splitlines()}
    for prefix in ("optim", "model", "model.encoder.lstm", "seed", "train.batch"):
        keys = {line.split()[0] for line in settings_table(prefix).splitlines()}
        assert keys == {key for key in everything if key == prefix or key.startswith(f"{prefix}.")} != set()


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("optm", "unknown key optm; did you mean optim or "),
        ("opt", "unknown key opt; did you mean optim or "),
        ("batch", "unknown key batch; did you mean train.batch or decoding.batch?"),
        ("model.encoder.hidden", "unknown key model.encoder.hidden; did you mean model.encoder.lstm.hidden or "),
        ("xyzzy", "unknown key xyzzy; `rnnt settings` lists all"),
    ],
)
def test_an_unknown_prefix_gets_near_matches_and_exit_code_2(prefix, message, monkeypatch, capsys):
    assert call(monkeypatch, "settings", prefix) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {message}") and len(err.splitlines()) == 1


def test_the_command_prints_whole_lines_into_a_pipe(monkeypatch, capsys):
    done = subprocess.run(
        [sys.executable, "-m", "rnnt.cli", "settings"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "40"}, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == settings_table() + "\n" and done.stderr == ""
    assert call(monkeypatch, "settings", "optim") == 0
    assert capsys.readouterr().out == settings_table("optim") + "\n"
    assert call(monkeypatch, "settings", "--help") == 0
    assert "Example: rnnt settings optim" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "method", "beam"), [("greedy", "greedy", 7), ("beam", "beam", 7), ("beam:8", "beam", 8)]
)
def test_a_search_is_chosen_by_its_name_and_width(text, method, beam):
    old = DecodingConfig(5, 100, beam=7)
    assert choose_decoding(text, old) == dataclasses.replace(old, method=method, beam=beam)


@pytest.mark.parametrize(
    "text", ["", "greedy:4", "beam:", "beam:x", "beam:-1", "beam:1.5", "beam:4:4", "Beam", "beam 4"]
)
def test_another_name_of_a_search_is_refused(text):
    with pytest.raises(ValueError, match=r"^no decoding '.*'; give greedy, beam, or beam:8 for a beam of 8$"):
        choose_decoding(text, DecodingConfig())


@pytest.mark.parametrize("width", [0, 257, 10_000, 10**30])
def test_a_width_of_a_beam_that_is_not_allowed_is_refused(width):
    with pytest.raises(ValueError, match=r"decoding\.beam is \d+; it must be .*256"):
        choose_decoding(f"beam:{width}", DecodingConfig())
