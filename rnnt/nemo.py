"""Transducers of NVIDIA's NeMo toolkit (a .nemo file) -> a model's folder.

A .nemo is a tar archive with `model_config.yaml`, `model_weights.ckpt` (torch.save of a dictionary) and the SentencePiece
model. Read are `EncDecRNNTBPEModel`, and the transducer in `EncDecHybridRNNTCTCBPEModel`, with the encoder FastConformer
or Conformer and an LSTM predictor. As here, the blank is the last symbol and a sequence starts with zeros.
"""

import math
import re
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from rnnt.archive import Archive, open_archive
from rnnt.config import Config
from rnnt.convert import matched, require_new, unpickle
from rnnt.features import Features
from rnnt.mel import mel_filters
from rnnt.model import Transducer
from rnnt.plain_yaml import parse_yaml
from rnnt.recognizer import Recognizer
from rnnt.settings import from_tree
from rnnt.text import one_line
from rnnt.tokenizer import SentencePiece

_CONFIG, _WEIGHTS = "model_config.yaml", "model_weights.ckpt"
_MOST_CONFIG, _MOST_TOKENIZER = 16 << 20, 64 << 20  # bytes; a list of the symbols is in the YAML up to four times

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
    "encoder.causal_downsampling": ("model.encoder.conformer.causal_subsampling", False),
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
    "encoder.reduction": (None,),
    "encoder.self_attention_model": ("rel_pos",),
    "encoder.att_context_style": ("regular", "chunked_limited"),
    "encoder.untie_biases": (True,),
    "encoder.conv_norm_type": ("batch_norm", "layer_norm"),
    "encoder.conv_context_style": ("regular",),
    "encoder.global_tokens": (0,),
    "decoder.normalization_mode": (None,),
    "decoder.blank_as_pad": (True,),
    "joint.num_extra_outputs": (0,),
}

_COMPUTED = {  # `nemo_config` handles each of these
    "preprocessor": "window_size window_stride n_window_size n_window_stride n_fft preemph lowfreq highfreq "
    "log_zero_guard_value",
    "encoder": "feat_in feat_out subsampling_conv_channels att_context_size conv_context_size",
    "decoder.prednet": "rnn_hidden_size",
}
_WITHOUT_EFFECT = {  # they concern training, memory, speed or export, or follow from others
    "preprocessor": "dither pad_to pad_value rng nb_augmentation_prob nb_max_freq stft_exact_pad stft_conv max_duration",
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


def convert_nemo(path: Path, out: Path) -> Recognizer:
    """Write a model's folder `out` from a .nemo file. Return the model.

    Raises ValueError if the file is damaged, if reading it could run code or touch files outside it, if it holds
    another kind of model, or if a setting of the model does not exist here.
    """
    require_new(out)
    with open_archive(path) as archive:
        settings = _read_config(archive, path)
        tokenizer = _read_tokenizer(archive, settings, path)
        config = nemo_config(settings, str(path), len(tokenizer))
        with archive.open(_WEIGHTS) as file:
            state = unpickle(file, f"{path} ({_WEIGHTS})", "no .nemo that NeMo has written does; do not use this file")
    if not isinstance(state, dict):
        raise ValueError(f"{path}: {_WEIGHTS} is no dictionary of weights; fetch it again")
    features = Features(config.features)
    filters = state.pop("preprocessor.featurizer.fb", None)
    if filters is not None and not _same_filters(filters, features):
        raise ValueError(f"{path}: its mel filters are not those that its settings say; they do not exist here")
    with torch.device("meta"):  # the settings of a stranger may ask for more than there is
        model = Transducer(features.width, len(tokenizer) + 1, config.model)
    weights = _convert_weights(state, model, f"{path} ({_WEIGHTS})")
    recognizer = Recognizer(config, tokenizer)
    recognizer.model.load_state_dict(weights)
    recognizer.save(out)
    return recognizer.eval()


def nemo_config(settings: dict, where: str, symbols: int) -> Config:
    """Return our settings of features, model and tokenizer for NeMo's `settings`. symbols: number of them, V - 1.

    Settings of training have our defaults. Raises ValueError that names the settings that do not exist here.
    """
    _refuse_unsupported(settings, where)
    given = {theirs: _get(settings, theirs, default) for theirs, (_, default) in _SETTINGS.items()}
    missing = [theirs for theirs, value in given.items() if value is None]
    if missing:
        raise ValueError(f"{where}: {_CONFIG} lacks {', '.join(missing)}; fetch it again")
    tree: dict[str, Any] = {}
    for theirs, (ours, _) in _SETTINGS.items():
        _put(tree, ours, given[theirs])
    for ours, value in (_features(settings, where) | _encoder(settings, where)).items():
        _put(tree, ours, value)
    _put(tree, "model.predictor.embedding", given["decoder.prednet.pred_hidden"])
    _put(tree, "tokenizer", {"kind": "sentencepiece", "size": symbols})
    most = _get(settings, "decoding.greedy.max_symbols")
    _put(tree, "decoding.max_symbols_per_frame", most if isinstance(most, int) and most > 0 else 10)
    _put(tree, "decoding.max_symbols", 1200)  # 30 a second; some vocabularies are of single characters
    return from_tree(tree, where, {ours: f"{where}: {theirs}" for theirs, (ours, _) in _SETTINGS.items()})


def _read_config(archive: Archive, path: Path) -> dict:
    """Return the settings in the archive. Raises ValueError unless they are of a transducer that can be converted."""
    content = archive.read(_CONFIG, _MOST_CONFIG)
    try:
        settings = parse_yaml(content.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {_CONFIG} is not readable as YAML: {error}") from None
    target = _get(settings, "target")
    family = one_line(str(target).rpartition(".")[2])[:100]
    if family not in _FAMILIES:
        what = "it does not say which model it is" if target is None else f"it is of the class {family}"
        raise ValueError(f"{path}: {what}; only {' and '.join(_FAMILIES)} can be converted")
    durations = _get(settings, "model_defaults.tdt_durations") or _get(settings, "decoding.durations")
    if durations or _get(settings, "loss.loss_name") == "tdt":
        raise ValueError(f"{path} is a token-and-duration transducer (TDT); these are not supported yet")
    for section, classes in _CLASSES.items():
        target = one_line(str(_get(settings, f"{section}._target_")).rpartition(".")[2])[:100]
        if target not in classes:
            raise ValueError(f"{path}: its {section} is of the class {target}; only {classes[0]} can be converted")
    return settings


def _read_tokenizer(archive: Archive, settings: dict, path: Path) -> SentencePiece:
    kind, named = _get(settings, "tokenizer.type"), _get(settings, "tokenizer.model_path")
    if kind != "bpe":
        raise ValueError(
            f"{path}: its tokenizer is {_shown(kind)}; only bpe (one SentencePiece model) can be converted"
        )
    name = PurePosixPath(str(named).removeprefix("nemo:")).name
    if named is None or name not in archive:
        raise ValueError(f"{path} lacks its tokenizer ({_shown(named)}); fetch it again")
    try:
        return SentencePiece(archive.read(name, _MOST_TOKENIZER))
    except ValueError as error:
        raise ValueError(f"{path}: {_shown(name)}: {error}") from None


def _refuse_unsupported(settings: dict, where: str) -> None:
    """Raise ValueError that names all settings of the model that do not exist here or have other values."""
    bad = []
    for section in ("preprocessor", "encoder", "decoder", "decoder.prednet", "joint", "joint.jointnet"):
        content = _get(settings, section)
        if not isinstance(content, dict):
            raise ValueError(f"{where}: {_CONFIG} has no section {section}; fetch it again")
        handled = f"_target_ {_COMPUTED.get(section, '')} {_WITHOUT_EFFECT.get(section, '')}".split()
        for key, value in content.items():
            name = f"{section}.{key}"
            if name in _ONLY:
                known = any(value == allowed and type(value) is not bool or value is allowed for allowed in _ONLY[name])
            else:
                known = key in handled or name in _SETTINGS or value is None  # null: NeMo's default
            if not known:
                bad.append(f"{_shown(name)}={_shown(value)}")
    if bad:
        raise ValueError(f"{where} has settings that are not supported: {', '.join(bad)}")


def _features(settings: dict, where: str) -> dict[str, Any]:
    """Return our settings of the features that are computed from NeMo's, by their names."""
    rate = _number(settings, "preprocessor.sample_rate", 16000, where)
    samples = {}
    for ours, theirs, default in (("window", "window_size", 0.02), ("hop", "window_stride", 0.01)):
        given = _number(settings, f"preprocessor.n_{theirs}", 0, where)
        samples[ours] = int(given or rate * _number(settings, f"preprocessor.{theirs}", default, where))
    guard = _get(settings, "preprocessor.log_zero_guard_value", 2**-24)
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
    given, bad = settings["encoder"], []
    width, kernel = given["d_model"], _get(settings, "encoder.conv_kernel_size", 31)
    if given.get("feat_out", -1) not in (-1, 0, None, width):
        bad.append("feat_out")
    hidden = settings["decoder"]["prednet"].get("rnn_hidden_size", -1)
    if hidden not in (-1, 0, None, settings["decoder"]["prednet"]["pred_hidden"]):
        bad.append("rnn_hidden_size")
    sides = given.get("conv_context_size")
    causal = sides == "causal" or sides == [kernel - 1, 0]
    if not causal and sides not in (None, [kernel // 2, kernel // 2]):
        bad.append("conv_context_size")
    limits = given.get("att_context_size") or [-1, -1]
    if isinstance(limits, list) and isinstance(limits[0], list):  # NeMo takes the first outside of training
        limits = limits[0]
    whole = isinstance(limits, list) and len(limits) == 2 and all(type(limit) is int for limit in limits)
    if not whole or (limits[1] >= 0 and given.get("att_context_style", "regular") == "regular"):
        bad.append("att_context_size")
    if bad:
        name = bad[0]
        value = hidden if name == "rnn_hidden_size" else given.get(name)
        section = "decoder.prednet" if name == "rnn_hidden_size" else "encoder"
        raise ValueError(f"{where} has settings that are not supported: {section}.{name}={_shown(value)}")
    channels = given.get("subsampling_conv_channels", -1)
    own = {
        "channels": width if channels in (-1, None) else channels,
        "depthwise": given.get("subsampling", "striding") == "dw_striding",
        "causal": causal,
        "attention_left": max(limits[0], -1),
        "attention_right": max(limits[1], -1),
        "norm": given.get("conv_norm_type", "batch_norm").removesuffix("_norm"),
    }
    return {"model.encoder.kind": "conformer"} | {f"model.encoder.conformer.{key}": own[key] for key in own}


def _convert_weights(state: dict, model: Transducer, where: str) -> dict[str, torch.Tensor]:
    """Return NeMo's weights by the names of our model's."""
    expected = {}
    for ours, value in model.state_dict().items():
        theirs = ours.replace("predictor.embedding", "decoder.prediction.embed")
        theirs = theirs.replace("predictor.lstm", "decoder.prediction.dec_rnn.lstm")
        theirs = re.sub(r"^joint\.predictor", "joint.pred", re.sub(r"^joint\.encoder", "joint.enc", theirs))
        expected[theirs.replace("joint.output", "joint.joint_net")] = (ours, value.shape)
    kept = {}
    for key, value in state.items():
        ignored = r"ctc_decoder\.|preprocessor\.|encoder\.pos_enc\.pe$|.*\.num_batches_tracked$"
        if not isinstance(value, torch.Tensor) or re.match(ignored, key):
            kept |= {} if isinstance(value, torch.Tensor) else {key: value}
        elif key == "decoder.prediction.embed.weight":
            if value.ndim == 2 and value[-1:].any():
                raise ValueError(f"{where}: the embedding of the blank is not zero; this model cannot be converted")
            kept[key] = value[:-1]
        else:
            kept[key] = value.squeeze(-1) if re.search(r"\.pointwise_conv[12]\.weight$", key) else value
    return matched(kept, _name, expected, where, _CONFIG)


def _name(key: str) -> str:
    """Return the name without the place of the output layer in NeMo's list, which depends on the dropout."""
    return re.sub(r"^joint\.joint_net\.[12]\.", "joint.joint_net.", key)


def _same_filters(filters: Any, features: Features) -> bool:
    ours = mel_filters(features.bins_hz[:, None], features.corners).T
    if not isinstance(filters, torch.Tensor) or filters.shape != (1, *ours.shape):
        return False
    return bool((filters[0].float() - ours).abs().max() <= 1e-3 * ours.max())


def _get(tree: Any, path: str, default: Any = None) -> Any:
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return default if tree is None else tree


def _put(tree: dict, path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[name] = value


def _number(settings: dict, path: str, default: float, where: str) -> float:
    value = _get(settings, path, default)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{where}: {path} is {_shown(value)}, which is no number")
    return value


def _shown(value: Any) -> str:
    return one_line(str(value))[:100]
