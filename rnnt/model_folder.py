"""A model's folder: config.yaml, the tokenizer and model.safetensors."""

from pathlib import Path

import safetensors.torch
import torch
import yaml

from rnnt.config import Config
from rnnt.files import write_file
from rnnt.settings import from_tree, to_yaml
from rnnt.text import reason
from rnnt.tokenizer import Tokenizer

WEIGHTS = "model.safetensors"


def write_model(folder: Path, config: Config, tokenizer: Tokenizer, weights: dict[str, torch.Tensor]) -> None:
    """Write a model's folder. Each of its files is replaced as a whole.

    Raises OSError (a full disk, for example), after which the weights that were there before are still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        write_file(folder / "config.yaml", to_yaml(config))
        tokenizer.save(folder)
        contiguous = {name: value.contiguous() for name, value in weights.items()}
        write_file(folder / WEIGHTS, safetensors.torch.save(contiguous))
    except OSError as error:
        raise OSError(f"cannot save {folder}: {error}") from error


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read the weights, on the host. Raises SafetensorError if the file is damaged."""
    return safetensors.torch.load_file(folder / WEIGHTS)


def find_model(path: str | Path) -> Path:
    """Return the folder of the model that a path names: the path itself, or RUN/best. Raises ValueError if none."""
    path = Path(path)
    for folder in (path, path / "best"):
        if (folder / WEIGHTS).is_file():
            return folder
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a model's folder or a run's")
    hint = "; it has no model yet" if (path / "config.yaml").is_file() else ""
    raise ValueError(f"{path} holds no model.safetensors and no best/model.safetensors{hint}")


def read_config(path: Path) -> Config:
    """Read the config.yaml of a run or a model. Raises ValueError if it is not one."""
    if not path.is_file():
        raise ValueError(f"{path.parent} is no model and no run: it has no config.yaml")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not readable as YAML: {reason(error)}") from None
    train = tree.get("train") if isinstance(tree, dict) else None
    if isinstance(train, dict) and isinstance(train.get("target_wer"), (int, float)):
        train["target_wer"] = min(train["target_wer"], 1.0)  # earlier versions took 5.8, which is 580 %
    return from_tree(tree, str(path))
