"""A model's folder: config.yaml, tokenizer, alphabet, model.safetensors, bigram model. It may come from a stranger."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from rnnt.alphabet import FILE as ALPHABET
from rnnt.alphabet import Alphabet
from rnnt.calibration import FILE as CALIBRATION
from rnnt.calibration import Calibration, calibration_json
from rnnt.config import Config
from rnnt.files import write_file
from rnnt.ngram.bigram import BIGRAM
from rnnt.plain_yaml import read_yaml
from rnnt.settings import from_tree, to_yaml
from rnnt.text import reason
from rnnt.tokenizer import FILES as TOKENIZERS
from rnnt.tokenizer import Tokenizer

WEIGHTS = "model.safetensors"
_TYPES = ("F64", "F32", "F16", "BF16")  # of the numbers that weights may be saved as


def write_model(
    folder: Path,
    config: Config,
    tokenizer: Tokenizer,
    weights: dict[str, torch.Tensor],
    calibration: Calibration | None = None,
    bigram: Path | None = None,
    alphabet: Alphabet | None = None,
) -> None:
    """Write a model's folder. Each of its files is replaced as a whole; a tokenizer of another kind is removed.

    alphabet: of a model that reads symbols. bigram: the file of the model's bigram model, which is copied. The
    calibration of earlier weights and the bigram model of earlier texts are removed too, if there are no new ones.

    Raises OSError (a full disk, for example), after which the weights that were there before are still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(config, tokenizer=replace(config.tokenizer, kind=tokenizer.kind))
    calibrated = calibration is not None and calibration != Calibration()
    try:
        write_file(folder / "config.yaml", to_yaml(config))
        tokenizer.save(folder)
        if alphabet is not None:
            alphabet.save(folder)
        if bigram is not None:
            write_file(folder / BIGRAM, bigram.read_bytes())
        contiguous = {name: value.contiguous() for name, value in weights.items()}
        if calibrated:
            write_file(folder / CALIBRATION, calibration_json(calibration))
        else:
            (folder / CALIBRATION).unlink(missing_ok=True)
        write_file(folder / WEIGHTS, safetensors.torch.save(contiguous))
        others = set(TOKENIZERS.values()) - {TOKENIZERS[tokenizer.kind]}
        for name in others if bigram else others | {BIGRAM}:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"cannot save {folder}: {error}") from error


def read_weights(folder: Path, expected: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Read the weights, on the host, if they have the names and shapes of `expected`, which may be on the meta device.

    The file's header is compared first, and nothing is allocated if it does not fit, or if this machine has less memory
    than the weights take. Raises ValueError if so, or if the file is damaged or holds NaN or infinity.
    """
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
            found = {name: (tuple(item.get_shape()), item.get_dtype()) for name, item in slices.items()}
        problem = _difference(found, expected) or _too_large(expected)
        weights = {} if problem else safetensors.torch.load_file(path)
    except (SafetensorError, RuntimeError, OSError) as error:
        problem = reason(error)
    if problem:
        raise ValueError(f"{path} is damaged or of another model: {problem}")
    for name, value in weights.items():
        if not torch.isfinite(value.float()).all():
            raise ValueError(f"{path}: {name} holds NaN or infinity; take an earlier model")
    return weights


def _difference(found: dict[str, tuple[tuple[int, ...], str]], expected: dict[str, torch.Tensor]) -> str:
    """The first difference between the header of a file and the tensors that config.yaml and the tokenizer describe."""
    missing, unused = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unused:
        return f"it lacks {missing[0]}" if missing else f"it has {unused[0][:100]} in addition"
    for name, (shape, kind) in found.items():
        if shape != tuple(expected[name].shape):
            return f"{name} is {shape}, but {tuple(expected[name].shape)} by config.yaml and the tokenizer"
        if kind not in _TYPES:
            return f"{name} holds numbers of type {kind}"
    return ""


def _too_large(expected: dict[str, torch.Tensor]) -> str:
    size = sum(value.numel() * value.element_size() for value in expected.values())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"its weights take {size / 1e9:.1f} GB, and this machine has {memory / 1e9:.1f} GB" if size > memory else ""


def find_model(path: str | Path) -> Path:
    """Return the folder of the model that a path names: the path itself, or RUN/best. Raises ValueError if none.

    Raises ValueError too if one of the model's files is a link that leads out of its folder.
    """
    path = Path(path)
    for folder in (path, path / "best"):
        if (folder / WEIGHTS).is_file():
            for name in (WEIGHTS, "config.yaml", CALIBRATION, BIGRAM, ALPHABET, *TOKENIZERS.values()):
                check_inside(folder / name)
            return folder
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a model's folder or a run's")
    hint = "; it has no model yet" if (path / "config.yaml").is_file() else ""
    raise ValueError(f"{path} holds no model.safetensors and no best/model.safetensors{hint}")


def find_models(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the folder of the model that each path names. One path counts as a list of one.

    Raises ValueError as `find_model` does, and if there is no path, or two paths name the same model.
    """
    folders = [find_model(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    if not folders:
        raise ValueError("no model is named; give a model's folder or a run's")
    first: dict[Path, Path] = {}
    for folder in folders:
        real = folder.resolve()
        if real in first:
            same = "is named twice" if folder == first[real] else f"is the same model as {first[real]}"
            raise ValueError(f"{folder} {same}; an ensemble takes each model once")
        first[real] = folder
    return folders


def check_inside(path: Path) -> None:
    """Raise ValueError if a file of a model or a run is a link to a file outside its folder."""
    folder = Path(os.path.realpath(path.parent))
    # The Hugging Face Hub's cache has links to REPOSITORY/blobs in REPOSITORY/snapshots/REVISION.
    allowed = folder.parents[1] if folder.parent.name == "snapshots" else folder
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(allowed):
        raise ValueError(f"{path} is a link to {target}, outside its folder; if you trust it, copy the folder: cp -rL")


def read_config(path: Path) -> Config:
    """Read the config.yaml of a run or a model. Raises ValueError if it is not one."""
    if not path.is_file():
        raise ValueError(f"{path.parent} is no model and no run: it has no config.yaml")
    check_inside(path)
    tree = read_yaml(path)
    train = tree.get("train") if isinstance(tree, dict) else None
    if isinstance(train, dict) and isinstance(train.get("target_wer"), (int, float)):
        train["target_wer"] = min(train["target_wer"], 1.0)  # earlier versions took 5.8, which is 580 %
    return from_tree(tree, str(path))
