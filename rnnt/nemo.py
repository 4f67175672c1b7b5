"""Transducers of NVIDIA's NeMo toolkit (a .nemo file) -> a model's folder.

A .nemo is a tar archive with `model_config.yaml`, `model_weights.ckpt` (a dictionary, by torch.save) and the model of
SentencePiece. Two classes are read, `EncDecRNNTBPEModel` and the transducer in `EncDecHybridRNNTCTCBPEModel`, if the
encoder is FastConformer or Conformer and the predictor an LSTM. They may be token-and-duration models (TDT), whose
joint has outputs for durations after those for symbols. As here, the blank is the last symbol and a sequence starts
with zeros.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from rnnt.archive import Archive, open_archive
from rnnt.convert import matched, require_new, unpickle
from rnnt.features import Features
from rnnt.mel import mel_filters
from rnnt.model import Transducer
from rnnt.nemo_config import find, nemo_config, require_transducer, shown
from rnnt.plain_yaml import parse_yaml
from rnnt.recognizer import Recognizer
from rnnt.shapes import shapes_only
from rnnt.text import reason
from rnnt.tokenizer import SentencePiece

_CONFIG, _WEIGHTS = "model_config.yaml", "model_weights.ckpt"
_MOST_CONFIG, _MOST_TOKENIZER = 16 << 20, 64 << 20  # bytes; a list of the symbols is in the YAML up to four times


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
    with shapes_only():  # the settings of a stranger may ask for more than there is
        model = Transducer(features.width, len(tokenizer) + 1, config.model)
    weights = _convert_weights(state, model, f"{path} ({_WEIGHTS})")
    recognizer = Recognizer(config, tokenizer)
    recognizer.model.load_state_dict(weights)
    recognizer.save(out)
    return recognizer.eval()


def _read_config(archive: Archive, path: Path) -> dict:
    """Return the settings in the archive. Raises ValueError unless they are of a transducer that can be converted."""
    content = archive.read(_CONFIG, _MOST_CONFIG)
    try:
        settings = parse_yaml(content.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {_CONFIG} is not readable as YAML: {reason(error)}") from None
    require_transducer(settings, str(path))
    return settings


def _read_tokenizer(archive: Archive, settings: dict, path: Path) -> SentencePiece:
    kind, named = find(settings, "tokenizer.type"), find(settings, "tokenizer.model_path")
    if kind != "bpe":
        raise ValueError(f"{path}: its tokenizer is of the type {shown(kind)}; only bpe (SentencePiece) is supported")
    name = PurePosixPath(str(named).removeprefix("nemo:")).name
    if named is None or name not in archive:
        raise ValueError(f"{path} lacks its tokenizer ({shown(named)}); fetch it again")
    try:
        return SentencePiece(archive.read(name, _MOST_TOKENIZER))
    except ValueError as error:
        raise ValueError(f"{path}: {shown(name)}: {error}") from None


def _convert_weights(state: dict, model: Transducer, where: str) -> dict[str, torch.Tensor]:
    """Return NeMo's weights by the names of our model's."""
    expected = {}
    for ours, value in model.state_dict().items():
        theirs = ours.replace("predictor.embedding", "decoder.prediction.embed")
        theirs = theirs.replace("predictor.lstm", "decoder.prediction.dec_rnn.lstm")
        theirs = re.sub(r"^joint\.predictor", "joint.pred", re.sub(r"^joint\.encoder", "joint.enc", theirs))
        expected[theirs.replace("joint.output", "joint.joint_net")] = (ours, value.shape)
    kept = {}
    for key, value in ((str(key), value) for key, value in state.items()):
        ignored = r"ctc_decoder\.|preprocessor\.|encoder\.pos_enc\.pe$|.*\.num_batches_tracked$"
        if not isinstance(value, torch.Tensor) or re.match(ignored, key):
            kept |= {} if isinstance(value, torch.Tensor) else {key: value}
        elif key == "decoder.prediction.embed.weight":
            if value.ndim == 2 and value[-1:].any():
                raise ValueError(f"{where}: the embedding of the blank is not zero; this model cannot be converted")
            kept[key] = value[:-1]
        else:
            kept[key] = value.squeeze(-1) if re.search(r"\.pointwise_conv[12]\.weight$", key) else value
    return matched(kept, _name, expected, where, f"{_CONFIG} and the tokenizer")


def _name(key: str) -> str:
    """Return the name without the place of the output layer in NeMo's list, which depends on the dropout."""
    return re.sub(r"^joint\.joint_net\.[12]\.", "joint.joint_net.", key)


def _same_filters(filters: Any, features: Features) -> bool:
    ours = mel_filters(features.bins_hz[:, None], features.corners).T
    if not isinstance(filters, torch.Tensor) or filters.shape != (1, *ours.shape):
        return False
    return bool((filters[0].float() - ours).abs().max() <= 1e-2 * ours.max())  # they may be rounded to bfloat16
