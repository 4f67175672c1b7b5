"""A model with everything that steers its decoding, as bytes: workers need no folder in common with the driver."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnt.alphabet import FILE as ALPHABET
from rnnt.calibration import FILE as CALIBRATION
from rnnt.model_folder import WEIGHTS, find_models
from rnnt.ngram.bigram import BIGRAM
from rnnt.recognizer import Recognizer, load
from rnnt.tokenizer import FILES as TOKENIZERS

_NAMES = (WEIGHTS, "config.yaml", CALIBRATION, BIGRAM, ALPHABET, *TOKENIZERS.values())


@dataclass(frozen=True)
class LoadOptions:
    """The options of `load`: which search, language model and hot words a model decodes with."""

    decoding: str | None = None
    hotwords: Path | None = None
    lm: Path | None = None
    lm_weight: float | None = None
    lodr_weight: float | None = None
    ilm_weight: float | None = None

    def load(self, models: Sequence[Path], device: str) -> Recognizer:
        """Open models with these options. Raises ValueError as `rnnt.load` does."""
        return load(models, device, *(getattr(self, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class ModelFiles:
    """The contents of the files of models, of hot words and of a language model, by relative names."""

    members: tuple[dict[str, bytes], ...]
    options: LoadOptions
    extras: dict[str, bytes]  # by the name of the option

    @staticmethod
    def read(models: Sequence[Path], options: LoadOptions) -> ModelFiles:
        """Read all files. Raises ValueError if a model is missing, and OSError if a file cannot be read."""
        members = tuple(
            {name: (folder / name).read_bytes() for name in _NAMES if (folder / name).is_file()}
            for folder in find_models(models)
        )
        extras = {name: path.read_bytes() for name in ("hotwords", "lm") if (path := getattr(options, name))}
        return ModelFiles(members, options, extras)

    @property
    def digest(self) -> str:
        """The SHA-256 of the models' files."""
        return _digest(self.members)

    @property
    def settings(self) -> dict[str, Any]:
        """The options as JSON, with the SHA-256 of a file in place of its name. Those not given are left out."""
        given = {name: value for name, value in vars(self.options).items() if value is not None}
        return given | {name: hashlib.sha256(content).hexdigest() for name, content in self.extras.items()}

    def open(self, device: str) -> Recognizer:
        """Load the models on this machine."""
        with tempfile.TemporaryDirectory(prefix="rnnt-model-") as folder:
            paths = []
            for number, member in enumerate(self.members):
                paths.append(Path(folder, str(number)))
                paths[-1].mkdir()
                for name, content in member.items():
                    (paths[-1] / name).write_bytes(content)
            options = vars(self.options).copy()
            for name, content in self.extras.items():
                options[name] = Path(folder, f"{name}{options[name].suffix}")
                options[name].write_bytes(content)
            return LoadOptions(**options).load(paths, device)


def _digest(members: Sequence[dict[str, bytes]]) -> str:
    sha256 = hashlib.sha256()
    for member in members:
        for name, content in sorted(member.items()):
            sha256.update(f"{name} {len(content)}\n".encode() + content)
        sha256.update(b"\n")
    return sha256.hexdigest()
