"""Each setting has an explanation, a default, and a range that is checked on construction."""

import dataclasses
import math
import re

import pytest

from rnnt import config as configs
from rnnt import features_config, model_config
from rnnt.config import AugmentConfig, Config
from rnnt.model_config import ModelConfig
from rnnt.settings import load_config

INF = math.inf

# The values that each numeric setting takes if the other settings have their defaults. A square bracket includes the
# limit, a parenthesis does not.
RANGES = {
    "seed": "[0, 9223372036854775807]",
    "features.sample_rate": "[16000, 160000]",
    "features.dither": "[0, inf)",
    "features.preemphasis": "[0, 1]",
    "features.n_fft": "[320, 10240]",
    "features.window": "[2, 512]",
    "features.hop": "[16, 65536]",
    "features.mels": "[1, 1024]",
    "features.cepstra": "[1, 1024]",
    "features.low_hz": "[0, 8000)",
    "features.high_hz": "(0, 8000]",
    "features.log_floor": "[0, inf)",
    "features.peak_floor": "[0, inf)",
    "features.prior_seconds": "(0, inf)",
    "features.stack": "[1, 100]",
    "symbols.embedding": "[1, 65536]",
    "symbols.dropout": "[0, 1]",
    "symbols.unknown": "[0, 1]",
    "augment.speed_min": "[0.5, 1]",
    "augment.speed_max": "[1, 1.6]",
    "augment.tempo_min": "[0.5, 1]",
    "augment.tempo_max": "[1, 2]",
    "augment.pitch_min": "[0.5, 1]",
    "augment.pitch_max": "[1, 2]",
    "augment.gain": "[0, inf)",
    "augment.tilt": "[0, inf)",
    "augment.noise_probability": "[0, 1]",
    "augment.noise_snr_min": "(-inf, 40]",
    "augment.noise_snr_max": "[5, inf)",
    "augment.rooms_probability": "[0, 1]",
    "augment.rooms_rt60_min": "[0.01, 0.8]",
    "augment.rooms_rt60_max": "[0.15, 10]",
    "augment.frequency_masks": "[0, 1000]",
    "augment.frequency_width": "[0, 1024]",
    "augment.time_masks": "[0, 1000]",
    "augment.time_width": "[0, 1]",
    "augment.time_frames": "[0, 1000000000]",
    "augment.splice_epoch": "[0, 1000000000]",
    "augment.ends_probability": "[0, 1]",
    "augment.ends_seconds": "[0, 600]",
    "augment.pauses_probability": "[0, 1]",
    "augment.join_probability": "[0, 1]",
    "augment.join_utterances": "[2, 1000]",
    "augment.wordless_probability": "[0, 1]",
    "augment.trim_probability": "[0, 1]",
    "tokenizer.size": "[1, 1000000]",
    "model.encoder.lstm.hidden": "[1, 65536]",
    "model.encoder.lstm.pre_layers": "[1, 100]",
    "model.encoder.lstm.time_stack": "[1, 100]",
    "model.encoder.lstm.post_layers": "[1, 100]",
    "model.encoder.lstm.dropout": "[0, 1]",
    "model.encoder.lstm.lookahead": "[0, 100]",
    "model.encoder.conformer.width": "[16, 65536]",
    "model.encoder.conformer.layers": "[1, 1000]",
    "model.encoder.conformer.heads": "[1, 256]",
    "model.encoder.conformer.feed_forward": "[1, 64]",
    "model.encoder.conformer.kernel": "[1, 1023]",
    "model.encoder.conformer.subsampling": "[2, 16]",
    "model.encoder.conformer.channels": "[1, 65536]",
    "model.encoder.conformer.attention_left": "[-1, 1000000000]",
    "model.encoder.conformer.attention_right": "[-1, 1000000000]",
    "model.encoder.conformer.unlimited_probability": "[0, 1]",
    "model.encoder.conformer.dropout": "[0, 1]",
    "model.encoder.conformer.attention_dropout": "[0, 1]",
    "model.encoder.conformer.layer_dropout": "[0, 1)",
    "model.predictor.embedding": "[0, 65536]",
    "model.predictor.hidden": "[1, 65536]",
    "model.predictor.layers": "[1, 100]",
    "model.predictor.dropout": "[0, 1]",
    "model.predictor.masking": "[0, 1]",
    "model.joint.hidden": "[1, 65536]",
    "model.joint.dropout": "[0, 1)",
    "model.forget_bias": "(-inf, inf)",
    "model.init_scale": "[0, inf)",
    "data.min_seconds": "[0, 16.7]",
    "data.max_seconds": "[0.1, inf]",
    "data.max_symbols": "[1, 1000000000]",
    "data.buckets": "[1, 10000]",
    "optim.lr": "(0, inf)",
    "optim.beta1": "[0, 1)",
    "optim.beta2": "[0, 1)",
    "optim.eps": "[0, inf)",
    "optim.weight_decay": "[0, inf)",
    "optim.max_grad_norm": "[0, inf]",  # 0: no clipping
    "optim.momentum": "[0, 1)",
    "schedule.warmup": "[0, inf)",
    "schedule.hold": "[0, inf]",
    "schedule.decay": "[0, 1]",
    "schedule.minimum": "[0, inf)",
    "train.epochs": "[1, 1000000]",
    "train.steps": "[0, 1000000000]",
    "train.batch": "[1, 1000000]",
    "train.accumulation": "[1, 384]",
    "train.ctc_weight": "[0, inf)",
    "train.fastemit": "[0, inf)",
    "train.ctc_consistency": "[0, inf)",
    "train.ctc_epochs": "[0, inf)",
    "train.star_penalty": "[0, inf]",
    "train.bypass_penalty": "[0, inf]",
    "train.partial_epochs": "[0, inf)",
    "train.curriculum_epochs": "[0, inf)",
    "train.curriculum_seconds": "[0, inf)",
    "train.weight_noise": "[0, inf)",
    "train.ema": "[0, 1)",
    "train.validate_every": "[1, 1000000000]",
    "train.validate_from": "[0, 1000000000]",
    "train.checkpoint_every": "[0, 1000000000]",
    "train.keep_checkpoints": "[1, 1000000000]",
    "train.target_wer": "[0, 1]",
    "train.max_skipped": "[1, 1000000000]",
    "decoding.max_symbols_per_frame": "[1, 10000]",
    "decoding.max_symbols": "[1, 1000000]",
    "decoding.batch": "[1, 1000000]",
    "decoding.beam": "[1, 256]",
    "decoding.blank_penalty": "[-20, 20]",
}


def fields(settings, prefix=""):
    """Each setting's key, its dataclass field and its value."""
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, item, value


def changed(settings, key, value):
    """The settings with one value replaced, made by the dataclasses' constructors alone."""
    name, _, rest = key.partition(".")
    return dataclasses.replace(settings, **{name: changed(getattr(settings, name), rest, value) if rest else value})


DEFAULTS = {key: value for key, _, value in fields(Config())}
NUMBERS = [key for key, value in DEFAULTS.items() if isinstance(value, (int, float)) and not isinstance(value, bool)]


def edges(key):
    """The outermost values that a setting takes, and values just outside of these."""
    start, low, high, end = re.fullmatch(r"([\[(])(.+), (.+)([\])])", RANGES[key]).groups()
    number = type(DEFAULTS[key])
    inside, outside = [], []
    for bracket, limit, sign in ((start, low, -1), (end, high, 1)):
        limit = float(limit) if number is float or math.isinf(float(limit)) else int(limit)
        outward, inward = (
            (limit + sign, limit - sign)
            if number is int
            else (math.nextafter(limit, sign * INF), math.nextafter(limit, -sign * INF))
        )
        if bracket in "[]":
            inside.append(limit)
            outside += [] if math.isinf(limit) else [outward]
        elif number is float:
            inside += [] if math.isinf(limit) else [inward]
            outside.append(limit)
    return inside, outside


def test_the_defaults_are_the_reference():
    config = Config()
    assert (config.features.n_fft, config.features.window, config.features.hop) == (512, 320, 160)
    assert (config.features.mels, config.features.stack, config.features.log_floor) == (80, 3, 1e-20)
    assert config.optim == configs.OptimConfig("lamb", 0.004, 0.9, 0.999, 1e-9, 1e-3, 1.0)
    assert (config.schedule.warmup, config.schedule.hold, config.schedule.decay) == (6, 40, 0.935)
    assert (config.train.ema, config.data.max_seconds, config.data.buckets) == (0.999, 16.7, 6)
    assert (config.decoding.max_symbols_per_frame, config.decoding.max_symbols) == (30, 300)
    assert config.augment == AugmentConfig() and config.augment.speed_max == 1.0


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


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().optim.lr = 1


def test_lists_of_two_configurations_are_not_shared():
    assert Config().data.train == ["train*"] and Config().data.train is not Config().data.train


@pytest.mark.parametrize(("key", "item"), [(key, item) for key, item, _ in fields(Config())])
def test_every_setting_has_an_explanation_in_one_line_that_names_its_choices(key, item):
    explanation = item.metadata["explanation"]
    assert explanation.isascii() and explanation == " ".join(explanation.split())
    assert 5 <= len(explanation) <= 120 and not explanation.endswith(".")
    if isinstance(DEFAULTS[key], str):
        try:
            changed(Config(), key, "?")
        except ValueError as error:
            choices = re.fullmatch(rf"{key} is '\?'; it must be one of (.+)", str(error))[1].split(", ")
            assert DEFAULTS[key] in choices
            for choice in choices:
                assert re.search(rf"\b{choice}\b", explanation), choice
                try:
                    changed(Config(), key, choice)
                except ValueError as error:  # another setting has to be changed with it
                    assert str(error).startswith(f"{key}={choice} needs ")


def test_every_section_has_a_docstring():
    sections = [
        value
        for module in (configs, features_config, model_config)
        for value in vars(module).values()
        if dataclasses.is_dataclass(value)
    ]
    assert len(sections) >= 13
    for section in sections:
        assert not section.__doc__.startswith(f"{section.__name__}(")  # what dataclass writes if there is none


def test_the_ranges_are_those_of_all_numbers():
    assert list(RANGES) == NUMBERS


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_out_of_range_is_refused_and_its_key_named(key):
    inside, outside = edges(key)
    for value in inside:
        changed(Config(), key, value)
    assert outside
    for value in [*outside, math.nan]:
        with pytest.raises(ValueError, match=rf"\b{re.escape(key)}\b") as caught:
            changed(Config(), key, value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("text", ["nan", ".nan", "inf", ".inf", "-.inf"])
def test_what_is_no_finite_number_is_refused_unless_it_has_a_meaning(key, text, tmp_path):
    (tmp_path / "a.yaml").write_text("")
    endless = ["data.max_seconds", "optim.max_grad_norm", "schedule.hold", "train.star_penalty", "train.bypass_penalty"]
    if key in endless and text in ("inf", ".inf"):
        load_config(tmp_path / "a.yaml", [f"{key}={text}"])
    else:
        with pytest.raises(ValueError, match=rf"'{re.escape(f'{key}={text}')}': .*\b{re.escape(key)}\b"):
            load_config(tmp_path / "a.yaml", [f"{key}={text}"])


@pytest.mark.parametrize("key", [key for key in NUMBERS if isinstance(DEFAULTS[key], int)])
@pytest.mark.parametrize("value", [10**12, 2**62])
def test_no_whole_number_is_beyond_reason(key, value, tmp_path):
    (tmp_path / "a.yaml").write_text("")
    if key == "seed":
        load_config(tmp_path / "a.yaml", [f"{key}={value}"])
    else:
        with pytest.raises(ValueError, match=rf"^'{key}={value}': {re.escape(key)} is {value}; it must be "):
            load_config(tmp_path / "a.yaml", [f"{key}={value}"])


def test_an_endless_utterance_cannot_end_a_curriculum():
    config = changed(Config(), "train.curriculum_epochs", 2.0)
    with pytest.raises(ValueError, match=r"^data\.max_seconds is inf; it must be finite, because train\.curriculum_ep"):
        changed(config, "data.max_seconds", INF)


def test_an_encoder_of_both_directions_has_no_look_ahead():
    config = changed(Config(), "model.encoder.lstm.lookahead", 2)
    with pytest.raises(ValueError, match=r"^model\.encoder\.lstm\.lookahead is 2; it must be 0 if model\.encoder\.ls"):
        changed(config, "model.encoder.lstm.bidirectional", True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optim.lr", 0.0, r"optim\.lr is 0\.0; it must be finite and above 0"),
        ("optim.max_grad_norm", -1.0, r"optim\.max_grad_norm is -1\.0; it must be at least 0"),
        ("train.ema", 1.0, r"train\.ema is 1\.0; it must be at least 0 and below 1"),
        ("augment.time_width", 1.5, r"augment\.time_width is 1\.5; it must be between 0 and 1"),
        ("model.forget_bias", math.nan, r"model\.forget_bias is nan; it must be finite"),
        ("features.window", 513, r"features\.window is 513; it must be at most features\.n_fft \(512\)"),
        (
            "features.high_hz",
            9000.0,
            r"features\.high_hz is 9000\.0; it must be above features\.low_hz \(0\.0\) and at most half of "
            r"features\.sample_rate \(8000\)",
        ),
        ("augment.speed_min", 1.2, r"augment\.speed_min is 1\.2; it must be at most augment\.speed_max \(1\.0\)"),
        (
            "augment.speed_max",
            1.7,
            r"features\.window is 320; for augment\.speed_max \(1\.7\) it grows to 544 samples, which must be at most "
            r"features\.n_fft \(512\)",
        ),
        (
            "augment.noise_snr_min",
            50.0,
            r"augment\.noise_snr_min is 50\.0; it must be at most augment\.noise_snr_max \(40\.0\)",
        ),
        ("features.hop", 15, r"features\.hop is 15; it must be at least features\.sample_rate / 1000 \(16\)"),
        ("features.n_fft", 20_000, r"features\.hop is 160; it must be at least features\.n_fft / 64 \(312\.5\)"),
        ("train.target_wer", 5.8, r"train\.target_wer is 5\.8; it must be between 0 and 1: write 5\.8 % as 0\.058"),
        ("data.min_seconds", 17.0, r"data\.min_seconds is 17\.0; it must be at most data\.max_seconds \(16\.7\)"),
        ("data.train", [], r"data\.train names no split; give at least one, such as \[train\*\]"),
        ("train.accumulation", 5, r"train\.batch is 384; it must be a multiple of train\.accumulation \(5\)"),
    ],
)
def test_messages(key, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        changed(Config(), key, value)
