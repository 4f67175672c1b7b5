"""Settings: read, overridden, refused with a line that says what to mend, and written in full."""

import dataclasses

import pytest
import yaml
from omegaconf import OmegaConf

from rnnt import config as configs
from rnnt.config import AugmentConfig, Config, ModelConfig
from rnnt.settings import from_tree, load_config, presets, to_yaml


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


def test_the_defaults_are_the_reference():
    config = Config()
    assert (config.features.n_fft, config.features.window, config.features.hop) == (512, 320, 160)
    assert (config.features.mels, config.features.stack, config.features.log_floor) == (80, 3, 1e-20)
    assert config.optim == configs.OptimConfig("lamb", 0.004, 0.9, 0.999, 1e-9, 1e-3, 1.0)
    assert (config.schedule.warmup, config.schedule.hold, config.schedule.decay) == (6, 40, 0.935)
    assert (config.train.ema, config.data.max_seconds, config.data.buckets) == (0.999, 16.7, 6)
    assert (config.decoding.max_symbols_per_frame, config.decoding.max_symbols) == (30, 300)
    assert config.augment == AugmentConfig() and config.augment.speed_max == 1.0


@pytest.mark.parametrize("name", presets())
def test_a_preset_loads_and_comes_back_from_its_yaml(name):
    config = load_config(name)
    tree = yaml.safe_load(to_yaml(config))
    assert tree == dataclasses.asdict(config)
    assert from_tree(tree, "there") == config


def test_the_reference_preset_is_design_section_6():
    config = load_config("librispeech-mlperf")
    augment = config.augment
    assert (augment.speed_min, augment.speed_max) == (0.85, 1.15)
    assert (augment.frequency_masks, augment.frequency_width) == (2, 20)
    assert (augment.time_masks, augment.time_width) == (10, 0.03)
    assert config.train.batch == 384 and config.train.target_wer == 0.058
    assert config.model == ModelConfig() and config.features.trim_silence
    assert config.data.train == ["train-clean-100", "train-clean-360", "train-other-500"]
    assert config.data.valid == ["dev-clean"]


def test_the_large_batch_preset_differs_in_batch_schedule_and_average_alone():
    small, large = (
        dataclasses.asdict(load_config("librispeech-mlperf")),
        dataclasses.asdict(load_config("librispeech-1536")),
    )
    train = {"batch": 1536, "accumulation": 4, "ema": 0.995, "checkpoint_every": 100}
    small["train"] |= train
    small["optim"]["lr"] = 0.0072
    small["schedule"] |= {"warmup": 5.0, "hold": 26.0, "decay": 0.92}
    assert small == large


def others(value):
    """Values of the same type, of which a setting should take at least one."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, list):
        return [[*value, "another"]]
    if isinstance(value, str):
        return ["none", "words", "tanh", "adamw", "cosine", "bfloat16", "additive", "else"]
    if isinstance(value, int):
        return [value + 3, value - 3, 2 * value, value // 2]
    return [value + 0.125, value - 0.125, value / 2, value * 2]


# The encoder has one family so far.
KEYS = [key for key, _ in leaves(dataclasses.asdict(Config())) if key != "model.encoder.kind"]


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_survives_the_round_trip(key):
    """So that none can be forgotten on the way to the file or back."""
    base = OmegaConf.create({"features": {"stack": 1}})
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
    assert load_config(file("")) == Config()
    assert load_config(file("optim: {lr: 1e-3}")).optim.lr == 1e-3


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().optim.lr = 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim: {lrr: 1}", r"settings\.yaml: unknown key optim\.lrr; did you mean optim\.lr\?"),
        ("nonsense: 1", r"settings\.yaml: unknown key nonsense"),
        ("optim: {lr: abc}", r"optim\.lr: Value 'abc' of type 'str' could not be converted to Float"),
        ("train: {batch: 1.5}", r"train\.batch: Value '1\.5'"),
        ("train: {ema_warmup: maybe}", r"train\.ema_warmup: Value 'maybe' is not a valid bool"),
        ("optim: {lr: }", r"optim\.lr: .*None"),
        ("data: {train: all}", r"settings\.yaml: data\.train: it must be a list, such as \[train"),
        ("optim: 3", r"settings\.yaml: optim is a section; set what is in it, such as optim\.name"),
        ("model: {encoder: }", r"model\.encoder is a section"),
        ("optim:\n - lr", "optim is a section"),
        ("a: [1", r"settings\.yaml is not readable as YAML"),
        ("optim: {lr: 1}\noptim: {lr: 2}", "is not readable as YAML: .*duplicate key"),
        ("- a\n- b", r"settings\.yaml"),
        ("just text", "unknown key just text"),
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
        ("optim.lr=${nope}", r"optim\.lr: Interpolation key 'nope' not found"),
        ("optim.lr=0", r"optim\.lr must be positive"),
        ("optim.name=sgd", r"optim\.name is 'sgd'; choose one of lamb, adamw"),
        ("precision=float8", "precision is 'float8'; choose one of float32, tf32, bfloat16, float16"),
        ("seed=-1", "seed is -1"),
        ("features.normalization=batch", r"features\.normalization is 'batch'"),
        ("features.window=513", r"features\.window is 513; it must lie between 2 and 512"),
        ("features.high_hz=9000", r"features\.low_hz < features\.high_hz <= 8000"),
        ("features.peak_floor=-30", r"features\.peak_floor is -30\.0; it must be at least 0"),
        ("features.stack=0", r"features\.stack is 0; it must be at least 1"),
        ("augment.speed_min=1.2", r"0\.5 <= augment\.speed_min <= augment\.speed_max <= 2 does not hold"),
        ("augment.speed_max=1.7", r"1\.7 times as long for augment\.speed_max, does not fit features\.n_fft=512"),
        ("augment.noise_probability=1.5", r"augment\.noise_probability is 1\.5; it must lie between 0 and 1"),
        ("augment.noise_snr_min=50", r"augment\.noise_snr_min is above"),
        ("augment.time_masks=-1", r"augment\.time_masks is -1"),
        ("tokenizer.kind=bytes", r"tokenizer\.kind is 'bytes'"),
        ("tokenizer.size=0", r"tokenizer\.size is 0"),
        ("model.encoder.dropout=1.5", r"model\.encoder\.lstm\.dropout is 1\.5"),
        ("model.encoder.pre_layers=0", r"model\.encoder\.lstm\.pre_layers is 0"),
        ("model.predictor.layers=0", r"model\.predictor\.layers is 0"),
        ("model.joint.activation=gelu", r"model\.joint\.activation is 'gelu'"),
        ("data.train=[]", r"data\.train names no split"),
        ("data.buckets=0", r"data\.buckets is 0"),
        ("data.min_seconds=17", r"0 <= data\.min_seconds <= data\.max_seconds does not hold"),
        ("schedule.name=step", r"schedule\.name is 'step'"),
        ("schedule.warmup=-1", r"schedule\.warmup"),
        ("train.epochs=0", r"train\.epochs is 0"),
        ("train.batch=0", r"train\.batch is 0"),
        ("train.accumulation=5", r"train\.batch \(384\) is not a multiple of train\.accumulation \(5\)"),
        ("train.ema=1", r"train\.ema must lie in \[0, 1\)"),
        ("train.keep_checkpoints=0", r"train\.keep_checkpoints is 0"),
        ("decoding.batch=0", r"decoding\.batch is 0"),
    ],
)
def test_a_mistake_in_an_override_is_named_in_one_line(file, override, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_config(file(""), [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a", "optim: [a]"])
def test_a_file_and_overrides_of_different_shapes(file, text):
    with pytest.raises(ValueError, match=r"settings\.yaml does not go together with optim\.lr=3"):
        load_config(file(text), ["optim.lr=3"])


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
