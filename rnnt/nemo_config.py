"""The settings in a .nemo file of NVIDIA's NeMo toolkit -> ours."""

import math
from typing import Any

import torch

from rnnt.config import Config
from rnnt.settings import from_tree
from rnnt.text import one_line

_MOST_SAMPLES = 1 << 30  # of a window or a hop, before they are checked
_FAMILIES = ("EncDecRNNTBPEModel", "EncDecHybridRNNTCTCBPEModel")
_CLASSES = {  # NeMo's modules that are understood
    "preprocessor": ("AudioToMelSpectrogramPreprocessor",),
    "encoder": ("ConformerEncoder",),
    "decoder": ("RNNTDecoder",),
    "joint": ("RNNTJoint", "SampledRNNTJoint"),
}

# NeMo's settings -> ours that mean the same, and NeMo's default.
_SETTINGS = {
    "preprocessor.sample_rate": ("features.sample_rate", 16000),
    "preprocessor.features": ("features.mels", 64),
    "preprocessor.window": ("features.window_type", "hann"),
    "encoder.n_layers": ("model.encoder.conformer.layers", None),
    "encoder.d_model": ("model.encoder.conformer.width", None),
    "encoder.n_heads": ("model.encoder.conformer.heads", 4),
    "encoder.ff_expansion_factor": ("model.encoder.conformer.feed_forward", 4),
    "encoder.conv_kernel_size": ("model.encoder.conformer.kernel", 31),
    "encoder.subsampling_factor": ("model.encoder.conformer.subsampling", 4),
    "encoder.xscaling": ("model.encoder.conformer.scale_input", True),
    "encoder.use_bias": ("model.encoder.conformer.bias", True),
    "encoder.dropout": ("model.encoder.conformer.dropout", 0.1),
    "encoder.dropout_att": ("model.encoder.conformer.attention_dropout", 0.0),
    "decoder.prednet.pred_hidden": ("model.predictor.hidden", None),
    "decoder.prednet.pred_rnn_layers": ("model.predictor.layers", None),
    "decoder.prednet.dropout": ("model.predictor.dropout", 0.0),
    "joint.jointnet.joint_hidden": ("model.joint.hidden", None),
    "joint.jointnet.activation": ("model.joint.activation", None),
    "joint.jointnet.dropout": ("model.joint.dropout", 0.0),
}

# NeMo's settings that must have one of these values. The first is NeMo's default.
_ONLY = {
    "preprocessor.normalize": ("per_feature", "NA", None),
    "preprocessor.log": (True,),
    "preprocessor.log_zero_guard_type": ("add",),
    "preprocessor.frame_splicing": (1,),
    "preprocessor.exact_pad": (False,),
    "preprocessor.mag_power": (2.0,),
    "preprocessor.mel_norm": ("slaney",),
    "preprocessor.use_torchaudio": (False,),
    "encoder.subsampling": ("striding", "dw_striding"),
    "encoder.causal_downsampling": (False,),  # NeMo's has another frame at the end
    "encoder.reduction": (None,),
    "encoder.self_attention_model": ("rel_pos",),
    "encoder.att_context_style": ("regular", "chunked_limited"),
    "encoder.untie_biases": (True,),
    "encoder.conv_norm_type": ("batch_norm", "layer_norm"),
    "encoder.conv_context_style": ("regular",),
    "encoder.global_tokens": (0,),
    "decoder.normalization_mode": (None,),
    "decoder.blank_as_pad": (True,),
}

_COMPUTED = {  # `nemo_config` handles each of these
    "preprocessor": "window_size window_stride n_window_size n_window_stride n_fft preemph lowfreq highfreq "
    "log_zero_guard_value",
    "encoder": "feat_in feat_out subsampling_conv_channels att_context_size conv_context_size",
    "decoder.prednet": "rnn_hidden_size",
    "joint": "num_extra_outputs",
}
_WITHOUT_EFFECT = {  # they concern training, memory, speed or export, or follow from others
    "preprocessor": "dither pad_to pad_value rng nb_augmentation_prob nb_max_freq stft_exact_pad stft_conv "
    "max_duration",
    "encoder": "att_context_probs pos_emb_max_len dropout_pre_encoder dropout_emb reduction_position reduction_factor "
    "stochastic_depth_drop_prob stochastic_depth_mode stochastic_depth_start_layer global_tokens_spacing "
    "global_attn_separate use_pytorch_sdpa use_pytorch_sdpa_backends sync_max_audio_length "
    "subsampling_conv_chunking_factor",
    "decoder": "prednet random_state_sampling vocab_size",
    "decoder.prednet": "t_max forget_gate_bias weights_init_scale hidden_hidden_bias_scale",
    "joint": "jointnet log_softmax preserve_memory fuse_loss_wer fused_batch_size num_classes vocabulary masking_prob "
    "experimental_fuse_loss_wer n_samples",
    "joint.jointnet": "encoder_hidden pred_hidden",
}


def nemo_config(settings: dict, where: str, symbols: int) -> Config:
    """Return our settings of features, model and tokenizer for NeMo's `settings`. symbols: number of them, V - 1.

    Settings of training have our defaults. Raises ValueError that names the settings that do not exist here.
    """
    _refuse_unsupported(settings, where)
    given = {theirs: find(settings, theirs, default) for theirs, (_, default) in _SETTINGS.items()}
    missing = [theirs for theirs, value in given.items() if value is None]
    if missing:
        raise ValueError(f"{where}: model_config.yaml lacks {', '.join(missing)}; fetch it again")
    tree: dict[str, Any] = {}
    for theirs, (ours, _) in _SETTINGS.items():
        _put(tree, ours, given[theirs])
    for ours, value in (_features(settings, where) | _encoder(settings, where)).items():
        _put(tree, ours, value)
    _put(tree, "model.joint.durations", _durations(settings, where))
    _put(tree, "model.predictor.embedding", given["decoder.prednet.pred_hidden"])
    _put(tree, "tokenizer", {"kind": "sentencepiece", "size": symbols})
    most = find(settings, "decoding.greedy.max_symbols")
    _put(tree, "decoding.max_symbols_per_frame", most if type(most) is int and 0 < most <= 10_000 else 10)
    _put(tree, "decoding.max_symbols", 1200)  # 30 a second; some vocabularies are of single characters
    return from_tree(tree, where, {ours: f"{where}: {theirs}" for theirs, (ours, _) in _SETTINGS.items()})


def require_transducer(settings: Any, where: str) -> None:
    """Raise ValueError unless the settings are of a transducer whose modules are understood."""
    target = find(settings, "target")
    family = one_line(str(target).rpartition(".")[2])[:100]
    if family not in _FAMILIES:
        what = "it does not say which model it is" if target is None else f"it is of the class {family}"
        raise ValueError(f"{where}: {what}; only {' and '.join(_FAMILIES)} can be converted")
    for section, classes in _CLASSES.items():
        target = one_line(str(find(settings, f"{section}._target_")).rpartition(".")[2])[:100]
        if target not in classes:
            raise ValueError(f"{where}: its {section} is of the class {target}; only {classes[0]} can be converted")


def _refuse_unsupported(settings: dict, where: str) -> None:
    """Raise ValueError that names all settings of the model that do not exist here or have other values."""
    bad = {}
    for section in ("preprocessor", "encoder", "decoder", "decoder.prednet", "joint", "joint.jointnet"):
        content = find(settings, section)
        if not isinstance(content, dict):
            raise ValueError(f"{where}: model_config.yaml has no section {section}; fetch it again")
        handled = f"_target_ {_COMPUTED.get(section, '')} {_WITHOUT_EFFECT.get(section, '')}".split()
        for key, value in content.items():
            name = f"{section}.{key}"
            if name in _ONLY:
                known = any(_same(value, allowed) for allowed in _ONLY[name])
            else:
                known = key in handled or name in _SETTINGS or value is None  # null: NeMo's default
            if not known:
                bad[name] = value
    if bad:
        raise _unsupported(where, bad)


def _features(settings: dict, where: str) -> dict[str, Any]:
    """Return our settings of the features that are computed from NeMo's, by their names."""
    rate = _number(settings, "preprocessor.sample_rate", 16000, where)
    samples = {}
    for ours, theirs, default in (("window", "window_size", 0.02), ("hop", "window_stride", 0.01)):
        given = _number(settings, f"preprocessor.n_{theirs}", 0, where)
        seconds = _number(settings, f"preprocessor.{theirs}", default, where)
        samples[ours] = int(min(given or rate * seconds, _MOST_SAMPLES))
    guard = find(settings, "preprocessor.log_zero_guard_value", 2**-24)
    if guard in ("tiny", "eps"):
        guard = getattr(torch.finfo(torch.float32), guard)
    n_fft = _number(settings, "preprocessor.n_fft", 0, where) or 2 ** math.ceil(math.log2(max(samples["window"], 2)))
    given = settings["preprocessor"]
    return {
        "features.window": samples["window"],
        "features.hop": samples["hop"],
        "features.n_fft": int(n_fft),
        "features.low_hz": _number(settings, "preprocessor.lowfreq", 0, where),
        "features.high_hz": _number(settings, "preprocessor.highfreq", 0, where) or rate / 2,
        "features.preemphasis": 0.0 if given.get("preemph", 0.97) is None else given.get("preemph", 0.97),
        "features.log_floor": guard,
        "features.normalization": "utterance" if given.get("normalize", "per_feature") == "per_feature" else "none",
        "features.dither": 0.0,  # NeMo adds none outside of training
        "features.padding": "zeros",
        "features.whole_hops": True,
        "features.stack": 1,
    }


def _encoder(settings: dict, where: str) -> dict[str, Any]:
    """Return our settings of the encoder that are computed from NeMo's, by their names."""
    given, prednet = settings["encoder"], settings["decoder"]["prednet"]
    width = _number(settings, "encoder.d_model", 0, where)
    kernel = int(_number(settings, "encoder.conv_kernel_size", 31, where))
    channels = _number(settings, "encoder.subsampling_conv_channels", -1, where)
    if given.get("feat_out", -1) not in (-1, 0, None, width):
        raise _unsupported(where, {"encoder.feat_out": given["feat_out"]})
    if prednet.get("rnn_hidden_size", -1) not in (-1, 0, None, prednet["pred_hidden"]):
        raise _unsupported(where, {"decoder.prednet.rnn_hidden_size": prednet["rnn_hidden_size"]})
    sides = given.get("conv_context_size")
    causal = sides == "causal" or sides == [kernel - 1, 0]
    if not causal and sides not in (None, [kernel // 2, kernel // 2]):
        raise _unsupported(where, {"encoder.conv_context_size": sides})
    limits = given.get("att_context_size") or [-1, -1]
    if isinstance(limits, list) and isinstance(limits[0], list):  # NeMo takes the first outside of training
        limits = limits[0]
    whole = isinstance(limits, list) and len(limits) == 2 and all(type(limit) is int for limit in limits)
    if not whole or (limits[1] >= 0 and given.get("att_context_style", "regular") == "regular"):
        both = {f"encoder.{key}": given.get(key, "regular") for key in ("att_context_size", "att_context_style")}
        raise _unsupported(where, both)
    own = {
        "channels": width if channels == -1 else channels,
        "depthwise": given.get("subsampling", "striding") == "dw_striding",
        "causal": causal,
        "attention_left": max(limits[0], -1),
        "attention_right": max(limits[1], -1),
        "norm": given.get("conv_norm_type", "batch_norm").removesuffix("_norm"),
    }
    return {"model.encoder.kind": "conformer"} | {f"model.encoder.conformer.{key}": own[key] for key in own}


def _durations(settings: dict, where: str) -> list[int]:
    """Return the durations of a token-and-duration transducer, in the order of its outputs; [] for other models."""
    extra = find(settings, "joint.num_extra_outputs", 0)
    names = ("loss.tdt_kwargs.durations", "model_defaults.tdt_durations", "decoding.durations")  # with equal lists
    durations = next((value for value in (find(settings, name) for name in names) if value), [])
    if not durations and find(settings, "loss.loss_name") == "tdt":
        raise ValueError(f"{where}: model_config.yaml lacks {names[0]}; fetch it again")
    if not isinstance(durations, list) or not all(type(duration) is int for duration in durations):
        raise ValueError(f"{where}: its durations are {shown(durations)}, which are no whole numbers of frames")
    if not _same(extra, len(durations)):  # other outputs are those of big blanks
        raise _unsupported(where, {"joint.num_extra_outputs": extra, "durations": durations})
    return durations


def _unsupported(where: str, settings: dict[str, Any]) -> ValueError:
    listed = ", ".join(f"{shown(name)}={shown(value)}" for name, value in settings.items())
    return ValueError(f"{where} has settings that are not supported: {listed}")


def find(tree: Any, path: str, default: Any = None) -> Any:
    """Return the value at a dotted path in nested dictionaries, or the default if it is not there or None."""
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return default if tree is None else tree


def _put(tree: dict, path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[name] = value


def _number(settings: dict, path: str, default: float, where: str) -> float:
    value = find(settings, path, default)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{where}: {path} is {shown(value)}, which is no number")
    return value


def shown(value: Any) -> str:
    """Return a value from a stranger as a short line."""
    return one_line(str(value))[:100]


def _same(value: Any, allowed: Any) -> bool:
    return value is allowed or (value == allowed and not isinstance(value, bool))
