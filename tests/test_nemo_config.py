"""NeMo's settings become ours, and those that do not exist here are named."""

import pytest
from made_up_nemo import PIECES, nemo_settings, with_durations

from rnnt.config import FeaturesConfig
from rnnt.model_config import ConformerConfig, JointConfig, PredictorConfig
from rnnt.nemo_config import find, nemo_config, require_transducer, shown


def changed(path, value):
    settings = nemo_settings()
    *sections, name = path.split(".")
    place = settings
    for section in sections:
        place = place[section]
    place[name] = value
    return settings


def test_all_settings_of_the_model():
    config = nemo_config(nemo_settings(), "a.nemo", PIECES)
    assert config.features == FeaturesConfig(
        window=400, log_floor=2**-24, dither=0.0, padding="zeros", whole_hops=True, stack=1
    )
    assert config.model.encoder.kind == "conformer"
    assert config.model.encoder.conformer == ConformerConfig(width=16, layers=2, heads=2, channels=6)
    assert config.model.predictor == PredictorConfig(embedding=12, hidden=12, layers=2, dropout=0.2)
    assert config.model.joint == JointConfig(hidden=20, activation="relu", dropout=0.2)
    assert (config.tokenizer.kind, config.tokenizer.size) == ("sentencepiece", PIECES)
    assert config.decoding.max_symbols_per_frame == 5


def test_durations():
    config = nemo_config(with_durations(nemo_settings(), [0, 2, 1]), "a.nemo", PIECES)
    assert config.model.joint.durations == [0, 2, 1]
    settings = with_durations(nemo_settings(), [0, 2, 1])
    settings["loss"] = {"loss_name": "default"}  # NeMo writes the list in three places
    assert nemo_config(settings, "a.nemo", PIECES).model.joint.durations == [0, 2, 1]


@pytest.mark.parametrize(
    ("durations", "extra", "message"),
    [
        ([0, 1, 2], 0, "not supported: joint.num_extra_outputs=0, durations="),
        ([], 2, "not supported: joint.num_extra_outputs=2"),
        ([0, 1, 1], 3, r"durations is \[0, 1, 1\]; it must be different numbers"),
        ([0, -1], 2, r"durations is \[0, -1\]; it must be different numbers"),
        ([0], 1, r"durations is \[0\]; it must be"),
        ([0, 1.5], 2, r"durations are \[0, 1.5\], which are no whole numbers"),
        ("some", 4, "durations are some, which are no whole numbers"),
        ([True, 2], 2, r"durations are \[True, 2\], which are no whole numbers"),
    ],
)
def test_durations_that_cannot_be(durations, extra, message):
    settings = with_durations(nemo_settings(), [])
    for section, name in ((settings["loss"]["tdt_kwargs"], "durations"), (settings["model_defaults"], "tdt_durations")):
        section[name] = durations
    settings["joint"]["num_extra_outputs"] = extra
    if not durations:
        settings["loss"]["loss_name"] = "multiblank_rnnt"
    with pytest.raises(ValueError, match=message) as error:
        nemo_config(settings, "a.nemo", PIECES)
    assert str(error.value).startswith("a.nemo") and "\n" not in str(error.value)


def test_durations_that_are_missing():
    with pytest.raises(ValueError, match=r"lacks loss\.tdt_kwargs\.durations; fetch it again"):
        nemo_config(with_durations(nemo_settings(), []), "a.nemo", PIECES)


def test_settings_that_are_missing_are_those_of_nemo():
    settings = nemo_settings()
    keep = {"encoder": ("_target_", "n_layers", "d_model"), "preprocessor": ("_target_",)}
    for section, names in keep.items():
        settings[section] = {name: settings[section][name] for name in names}
    config = nemo_config(settings, "a.nemo", PIECES)
    features = FeaturesConfig(
        window=320, mels=64, log_floor=2**-24, dither=0.0, padding="zeros", whole_hops=True, stack=1
    )
    assert config.features == features
    assert config.model.encoder.conformer == ConformerConfig(
        width=16, layers=2, heads=4, kernel=31, subsampling=4, channels=16, depthwise=False, attention_dropout=0.0
    )


@pytest.mark.parametrize(
    ("path", "value", "ours", "expected"),
    [
        ("preprocessor.n_fft", None, "features.n_fft", 512),
        ("preprocessor.sample_rate", 8000, "features.high_hz", 4000.0),
        ("preprocessor.highfreq", 7000, "features.high_hz", 7000.0),
        ("preprocessor.preemph", None, "features.preemphasis", 0.0),
        ("preprocessor.normalize", "NA", "features.normalization", "none"),
        ("preprocessor.normalize", None, "features.normalization", "none"),
        ("preprocessor.window", "hamming", "features.window_type", "hamming"),
        ("preprocessor.log_zero_guard_value", "eps", "features.log_floor", 2.0**-23),
        ("encoder.conv_norm_type", "layer_norm", "model.encoder.conformer.norm", "layer"),
        ("encoder.conv_context_size", "causal", "model.encoder.conformer.causal", True),
        ("encoder.conv_context_size", [8, 0], "model.encoder.conformer.causal", True),
        ("encoder.conv_context_size", [4, 4], "model.encoder.conformer.causal", False),
        ("encoder.att_context_size", [70, -1], "model.encoder.conformer.attention_left", 70),
        ("encoder.att_context_size", None, "model.encoder.conformer.attention_left", -1),
        ("joint.jointnet.activation", "tanh", "model.joint.activation", "tanh"),
        ("encoder.stochastic_depth_drop_prob", 0.1, "model.encoder.conformer.layer_dropout", 0.0),
    ],
)
def test_one_setting(path, value, ours, expected):
    found = nemo_config(changed(path, value), "a.nemo", PIECES)
    for name in ours.split("."):
        found = getattr(found, name)
    assert found == expected


def test_the_first_of_several_limits_of_attention_is_taken():
    settings = changed("encoder.att_context_size", [[70, 13], [70, 6]])
    settings["encoder"]["att_context_style"] = "chunked_limited"
    conformer = nemo_config(settings, "a.nemo", PIECES).model.encoder.conformer
    assert (conformer.attention_left, conformer.attention_right) == (70, 13)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("preprocessor.normalize", "all_features"),
        ("preprocessor.log", False),
        ("preprocessor.log_zero_guard_type", "clamp"),
        ("preprocessor.frame_splicing", 3),
        ("preprocessor.exact_pad", True),
        ("preprocessor.mag_power", 1.0),
        ("preprocessor.mel_norm", None),
        ("preprocessor.new", 1),
        ("encoder.subsampling", "vggnet"),
        ("encoder.causal_downsampling", True),
        ("encoder.reduction", "pooling"),
        ("encoder.self_attention_model", "rel_pos_local_attn"),
        ("encoder.untie_biases", False),
        ("encoder.conv_norm_type", "group_norm8"),
        ("encoder.global_tokens", 1),
        ("encoder.feat_out", 640),
        ("encoder.conv_context_size", [6, 2]),
        ("encoder.att_context_size", [128, 128]),
        ("encoder.att_context_size", [[]]),
        ("encoder.att_context_size", "all"),
        ("encoder.new", [1, 2]),
        ("decoder.normalization_mode", "layer"),
        ("decoder.blank_as_pad", False),
        ("decoder.prednet.rnn_hidden_size", 2048),
        ("joint.num_extra_outputs", 2),
        ("joint.jointnet.new", "x\ny"),
    ],
)
def test_a_setting_that_does_not_exist_here(path, value):
    with pytest.raises(ValueError, match=r"a\.nemo has settings that are not supported: ") as error:
        nemo_config(changed(path, value), "a.nemo", PIECES)
    assert f"{path}={shown(value)}" in str(error.value) and "\n" not in str(error.value)


def test_all_of_them_are_named_at_once():
    settings = changed("encoder.reduction", "striding")
    settings["decoder"]["normalization_mode"] = "batch"
    message = "not supported: encoder.reduction=striding, decoder.normalization_mode=batch"
    with pytest.raises(ValueError, match=message):
        nemo_config(settings, "a.nemo", PIECES)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("encoder.d_model", "wide", "encoder.d_model is wide, which is no number"),
        ("encoder.n_layers", "x", "a.nemo: encoder.n_layers"),
        ("encoder.n_layers", None, "model_config.yaml lacks encoder.n_layers"),
        ("encoder.conv_kernel_size", "x", "encoder.conv_kernel_size is x, which is no number"),
        ("preprocessor.window_size", [1], "preprocessor.window_size is .*, which is no number"),
        ("preprocessor.window_size", 1e308, "a.nemo: .*features.window"),
        ("preprocessor.log_zero_guard_value", "x", "features.log_floor"),
        ("joint.jointnet.activation", "sigmoid", "joint.jointnet.activation: .*relu, tanh"),
        ("joint.jointnet", None, "no section joint.jointnet"),
        ("decoder.prednet", 3, "no section decoder.prednet"),
    ],
)
def test_values_that_are_none(path, value, message):
    with pytest.raises(ValueError, match=message) as error:
        nemo_config(changed(path, value), "a.nemo", PIECES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "target",
            "nemo.collections.asr.models.ctc_bpe_models.EncDecCTCModelBPE",
            "of the class EncDecCTCModelBPE; only",
        ),
        ("target", None, "does not say which model it is"),
        (
            "encoder._target_",
            "nemo.collections.asr.modules.ConvASREncoder",
            "its encoder is of the class ConvASREncoder",
        ),
        ("decoder._target_", "x.StatelessTransducerDecoder", "its decoder is of the class StatelessTransducerDecoder"),
        ("preprocessor._target_", "x.AudioToMFCCPreprocessor", "its preprocessor is of the class AudioToMFCC"),
    ],
)
def test_models_of_other_families(path, value, message):
    with pytest.raises(ValueError, match=message) as error:
        require_transducer(changed(path, value), "a.nemo")
    assert str(error.value).startswith("a.nemo")


@pytest.mark.parametrize("settings", [None, [], "word", {}])
def test_settings_that_are_none(settings):
    with pytest.raises(ValueError, match="does not say which model it is"):
        require_transducer(settings, "a.nemo")


def test_values_are_found_by_their_path():
    assert find({"a": {"b": 0}}, "a.b", 3) == 0
    assert find({"a": {"b": None}}, "a.b", 3) == find([], "a.b", 3) == 3
