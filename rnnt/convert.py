"""Checkpoints of the MLPerf RNN-T reference and of code derived from it -> a model's folder.

Checkpoints of three programs are read: github.com/mlcommons/training (rnn_speech_recognition/pytorch),
Deep-Spark/DeepSparkHub, and NVIDIA's submissions in mlcommons/training_results_v1.0 and v2.1. All hold torch's LSTM and
linear layers; as here, the blank is the last symbol and a sequence starts with zeros. Only the names differ.
"""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
import yaml
from omegaconf import OmegaConf
from torch import nn

from rnnt.config import Config, FeaturesConfig
from rnnt.recognizer import Recognizer
from rnnt.settings import from_tree
from rnnt.text import reason
from rnnt.tokenizer import SentencePiece, Symbols, Tokenizer

STATES = {"ema": "ema_state_dict", "raw": "state_dict"}  # keys of a checkpoint

# The reference's modules -> ours.
_MODULES = {
    "encoder.pre_rnn.lstm": "encoder.pre.lstm",
    "encoder.post_rnn.lstm": "encoder.post.lstm",
    "prediction.embed": "predictor.embedding",
    "prediction.dec_rnn.lstm": "predictor.lstm",
    "joint_enc": "joint.encoder",
    "joint_pred": "joint.predictor",
    "joint_net.2": "joint.output",
}

# Our settings -> the reference's settings that mean the same.
_SETTINGS = {
    "model.encoder.lstm.hidden": "rnnt.enc_n_hid",
    "model.encoder.lstm.pre_layers": "rnnt.enc_pre_rnn_layers",
    "model.encoder.lstm.post_layers": "rnnt.enc_post_rnn_layers",
    "model.encoder.lstm.time_stack": "rnnt.enc_stack_time_factor",
    "model.encoder.lstm.dropout": "rnnt.enc_dropout",
    "model.predictor.embedding": "rnnt.pred_n_hid",
    "model.predictor.hidden": "rnnt.pred_n_hid",
    "model.predictor.layers": "rnnt.pred_rnn_layers",
    "model.predictor.dropout": "rnnt.pred_dropout",
    "model.joint.hidden": "rnnt.joint_n_hid",
    "model.joint.dropout": "rnnt.joint_dropout",
    "features.trim_silence": "input_val.audio_dataset.trim_silence",
    "features.sample_rate": "input_val.filterbank_features.sample_rate",
    "features.n_fft": "input_val.filterbank_features.n_fft",
    "features.mels": "input_val.filterbank_features.n_filt",
    "features.dither": "input_val.filterbank_features.dither",
    "features.preemphasis": "input_val.filterbank_features.preemph",
    "features.low_hz": "input_val.filterbank_features.lowfreq",
    "features.high_hz": "input_val.filterbank_features.highfreq",
    "features.stack": "input_val.frame_splicing.frame_stacking",
}
_FEATURES = "input_val.filterbank_features"
_SPLICING = "input_val.frame_splicing"
_COMPUTED = ("window_size", "window_stride", "window", "normalize", "log")  # `reference_config` handles each of these
_WITHOUT_EFFECT = ("max_duration", "pad_to_max_duration")


def convert(
    checkpoint: Path, config: Path, out: Path, tokenizer: Path | None = None, weights: str = "ema"
) -> tuple[Recognizer, str]:
    """Write a model's folder `out` from a checkpoint and the reference's YAML file `config`.

    tokenizer: a SentencePiece model that replaces the one named in the YAML file. weights: "raw" takes the trained
    weights; "ema" takes the averaged ones, which the reference evaluates, or the trained ones if there are no averages.
    Returns the model and the checkpoint's key that held its weights. Raises ValueError if the checkpoint cannot be read
    without running code in it, or if names or shapes differ from those of the configured model.
    """
    if weights not in STATES:
        raise ValueError(f"weights is {weights!r}; choose one of {', '.join(STATES)}")
    require_new(out)
    settings = _read_yaml(config)
    symbols = _read_tokenizer(settings, config, tokenizer)
    recognizer = Recognizer(reference_config(settings, str(config), symbols), symbols)
    states = read_states(checkpoint)
    key = STATES[weights] if STATES[weights] in states else STATES["raw"]
    if key not in states:
        raise ValueError(f"{checkpoint} holds no {key}; use --weights ema")
    fill(recognizer.model, states[key], f"{checkpoint} ({key})", f"{config} and the tokenizer")
    recognizer.save(out)
    return recognizer.eval(), key


def require_new(out: Path) -> None:
    """Raise ValueError if the folder holds a model or a run."""
    if any((out / name).exists() for name in ("model.safetensors", "metrics.jsonl")):
        raise ValueError(f"{out} holds a model or a run already; give --out another folder")


def unpickle(file: BinaryIO, where: str, mend: str) -> Any:
    """Return what torch.save has written to a file, if it is tensors and plain values: no code in the file is run.

    Raises ValueError if the file is damaged or holds other objects. where: how messages call the file. mend: how
    the message about other objects ends.
    """
    try:
        if zipfile.is_zipfile(file) and zipfile.ZipFile(file).testzip():  # torch.load ignores the checksums
            raise ValueError
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises many kinds
        found = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error))
        if not found:
            raise ValueError(f"{where} is damaged or was not written by torch.save; fetch it again") from None
        raise ValueError(
            f"{where} holds {found[1]} in addition to tensors, and reading it could run any program; {mend}"
        ) from None


def read_states(path: Path) -> dict[str, dict]:
    """Return the weights in a checkpoint, by their keys `state_dict` and `ema_state_dict`; one of them may be missing.

    Raises ValueError as `unpickle` does.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint {path}")
    mend = (
        'if you trust the file, save its weights alone with: python -c "import torch; '
        f"c = torch.load('{path}', 'cpu', weights_only=False); "
        "torch.save({k: c.get(k) for k in ('state_dict', 'ema_state_dict')}, 'weights.pt')\""
    )
    with open(path, "rb") as file:
        content = unpickle(file, str(path), mend)
    content = content if isinstance(content, dict) else {}
    states = {key: content[key] for key in STATES.values() if isinstance(content.get(key), dict)}
    if not states:
        raise ValueError(f"{path} is no checkpoint of the reference: it holds no {' and no '.join(STATES.values())}")
    return states


def reference_name(key: str) -> str:
    """Return the name in the MLCommons code for a checkpoint's key.

    Keys may have the prefix of DistributedDataParallel. NVIDIA's code has a list `rnn` that alternates LSTMs of one
    layer and dropouts, and calls the output layer `fc` or gives it another index.
    """
    key = key.removeprefix("module.")
    key = re.sub(r"\.rnn\.(\d*[02468])\.(\w+)_l0$", lambda m: f".lstm.{m[2]}_l{int(m[1]) // 2}", key)
    return re.sub(r"^(joint_net\.[12]|fc|fc\.mlp|fc\.fused_dense)\.(weight|bias)(_0)?$", r"joint_net.2.\2", key)


def fill(model: nn.Module, state: dict[str, Any], where: str, made_by: str) -> None:
    """Copy a checkpoint's weights into a Transducer. Raises ValueError unless both have the same names and shapes.

    where, made_by: how error messages refer to the checkpoint, and to the files that define the model's sizes.
    """
    expected = {
        f"{theirs}.{name}": (f"{ours}.{name}", parameter.shape)
        for theirs, ours in _MODULES.items()
        for name, parameter in model.get_submodule(ours).named_parameters()
    }
    model.load_state_dict(matched(state, reference_name, expected, where, made_by))


def matched(
    state: dict[str, Any],
    rename: Callable[[str], str],
    expected: dict[str, tuple[str, torch.Size]],
    where: str,
    made_by: str,
) -> dict[str, torch.Tensor]:
    """Return a checkpoint's weights by our names, in float32.

    rename: gives the name for a checkpoint's key. expected: our name and the shape for each of these names. Raises
    ValueError, as `fill` does, unless all names and shapes are there and no others, and all values are finite.
    """
    found: dict[str, torch.Tensor] = {}
    unused = []
    for key, value in state.items():
        name = rename(str(key))
        if name not in expected or name in found or not isinstance(value, torch.Tensor):
            unused.append(str(key))
        else:
            found[name] = value
    missing = [name for name in expected if name not in found]
    if missing or unused:
        parts = [f"lacks {_listed(missing)}"] * bool(missing) + [f"has no use for {_listed(unused)}"] * bool(unused)
        raise ValueError(f"{where} is not of the model that {made_by} describe: it {' and '.join(parts)}")
    for name, value in found.items():
        if value.shape != expected[name][1]:
            raise ValueError(
                f"{where}: {name} is {tuple(value.shape)}, but {tuple(expected[name][1])} by {made_by}; "
                "give the files that it was trained with"
            )
        if not torch.isfinite(value).all():
            raise ValueError(f"{where}: {name} holds NaN or infinity; take an earlier checkpoint")
    return {expected[name][0]: value.float() for name, value in found.items()}


def reference_config(settings: dict, where: str, tokenizer: Tokenizer) -> Config:
    """Return our settings of features, model and tokenizer for the reference's `settings`.

    Settings that are missing there have the values of the MLPerf model; settings of training have our defaults.
    Raises ValueError if features of this kind do not exist here.
    """
    features = settings["input_val"]["filterbank_features"]
    known = {theirs.rpartition(".")[2] for theirs in _SETTINGS.values() if theirs.startswith(_FEATURES)}
    for key in features:
        if key not in known and key not in _COMPUTED + _WITHOUT_EFFECT:
            raise ValueError(f"{where}: {_FEATURES}.{key} is a setting of features that do not exist here")
    stack = _value(settings, f"{_SPLICING}.frame_stacking", FeaturesConfig.stack, where)
    for key, allowed in (
        (f"{_FEATURES}.window", ("hann",)),
        (f"{_FEATURES}.log", (True,)),
        (f"{_FEATURES}.normalize", ("per_feature", "none")),
        (f"{_SPLICING}.frame_subsampling", (stack,)),
    ):
        value = _value(settings, key, allowed[0], where)
        if value not in allowed:
            raise ValueError(f"{where}: {key} is {value!r}; only {' and '.join(map(str, allowed))} can be converted")

    rate = _number(settings, f"{_FEATURES}.sample_rate", FeaturesConfig.sample_rate, where)
    tree = OmegaConf.create({"tokenizer": {"kind": tokenizer.kind, "size": len(tokenizer)}})
    OmegaConf.update(tree, "features.high_hz", rate / 2)
    for ours, theirs, default in (("window", "window_size", 0.02), ("hop", "window_stride", 0.01)):
        seconds = _number(settings, f"{_FEATURES}.{theirs}", default, where)
        OmegaConf.update(tree, f"features.{ours}", int(rate * seconds))  # rounded down, as in the reference
    if features.get("normalize") == "none":
        OmegaConf.update(tree, "features.normalization", "none")
    for ours, theirs in _SETTINGS.items():
        value = _value(settings, theirs, None, where)
        if value is not None:
            OmegaConf.update(tree, ours, value)
    return from_tree(tree, where, {ours: f"{where}: {theirs}" for ours, theirs in _SETTINGS.items()})


def _read_yaml(path: Path) -> dict:
    if not path.is_file():
        raise ValueError(f"no configuration file {path}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable as YAML: {reason(error)}") from None
    for section in ("rnnt", "tokenizer", _FEATURES):
        if not isinstance(_get(settings, section), dict):
            raise ValueError(f"{path} is no configuration of the reference: it has no section {section}")
    return settings


def _read_tokenizer(settings: dict, config: Path, given: Path | None) -> Tokenizer:
    """The SentencePiece model `given` or named in the YAML file; if there is none, the characters listed there."""
    named = settings["tokenizer"].get("sentpiece_model")
    if given is None and not named:
        try:
            return Symbols("characters", settings["tokenizer"].get("labels") or [])
        except (ValueError, TypeError):
            raise ValueError(f"{config}: section tokenizer has neither sentpiece_model nor a list of labels") from None
    path = given or Path(str(named))
    if given is None and not path.is_file():
        path = config.parent / path  # an absolute path stays as it is
    if not path.is_file():
        mend = "" if given else f", which {config} names; give the SentencePiece model with --tokenizer FILE"
        raise ValueError(f"no tokenizer file {path}{mend}")
    try:
        return SentencePiece(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _get(tree: Any, path: str, default: Any = None) -> Any:
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return default if tree is None else tree


def _value(settings: dict, path: str, default: Any, where: str) -> Any:
    """A number or a word. A list or a section in its place may be endless, because YAML's aliases can nest it."""
    value = _get(settings, path, default)
    if isinstance(value, (dict, list, set, tuple)) or "${" in str(value):
        raise ValueError(f"{where}: {path} is no number and no word; write the value out")
    return value


def _number(settings: dict, path: str, default: float, where: str) -> float:
    value = _value(settings, path, default, where)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where}: {path} is {value!r}, which is no number") from None


def _listed(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
