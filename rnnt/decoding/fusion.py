"""Language models that steer a search together: one is added, and the model's own is subtracted."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rnnt.decoding.internal import InternalLm
from rnnt.decoding.language_model import load_language_model
from rnnt.decoding.ngram import NGram
from rnnt.decoding.scorer import Scorers
from rnnt.decoding.word_ngram import WordNGram
from rnnt.model import Transducer
from rnnt.ngram.bigram import BIGRAM, read_bigram
from rnnt.ngram.tables import build_tables
from rnnt.ngram.vocabulary import symbol_names
from rnnt.tokenizer import Tokenizer

# Chosen on the validation data of small models, see docs/decoding.md.
LM_WEIGHT, LODR_SHARE = 0.3, 2 / 3
SIGNS = {"lm": 1, "lodr": -1, "ilm": -1}  # with which the language models count

LanguageModel = NGram | WordNGram | InternalLm


@dataclass(frozen=True)
class Fusion:
    """A language model and the weights of all.

    lm: an ARPA file. lm_weight: of its log-probabilities. lodr_weight: with which the log-probabilities of the bigram
    model in the model's folder are subtracted (low-order density ratio, LODR: Zheng et al. 2022, arXiv 2203.16776);
    default: two thirds of lm_weight if there is one. ilm_weight: with which those of the model's internal language
    model are subtracted, which is an alternative. Raises ValueError if a weight is negative or not finite.
    """

    lm: Path
    lm_weight: float = LM_WEIGHT
    lodr_weight: float | None = None
    ilm_weight: float = 0.0

    def __post_init__(self):
        for name in ("lm_weight", "lodr_weight", "ilm_weight"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; it must be a number from 0 on, such as 0.3")

    def weights(self, folder: Path) -> dict[str, float]:
        """Return the weight of each language model by its name, as in `open_models`. folder: the model's."""
        lodr = self.lodr_weight
        if lodr is None:
            lodr = 0.0 if self.ilm_weight or not (folder / BIGRAM).is_file() else LODR_SHARE * self.lm_weight
        return {"lm": self.lm_weight, "lodr": lodr, "ilm": self.ilm_weight}


def make_fusion(
    lm: str | Path | None,
    lm_weight: float | None = None,
    lodr_weight: float | None = None,
    ilm_weight: float | None = None,
) -> Fusion | None:
    """Return the fusion that a user asks for, None without a language model.

    Raises ValueError if a weight is out of range, or has no language model.
    """
    weights = {"lm_weight": lm_weight, "lodr_weight": lodr_weight, "ilm_weight": ilm_weight}
    given = {name: value for name, value in weights.items() if value is not None}
    if lm is not None:
        return Fusion(Path(lm), **given)
    for name in given:
        raise ValueError(f"{name} is given without a language model; give one with lm, or --lm FILE")
    return None


def fuse(
    fusion: Fusion, folder: Path, tokenizer: Tokenizer, model: Transducer, device: str | torch.device = "cpu"
) -> Scorers:
    """Return the scorer of a language model less those of the model. folder: the model's.

    Raises ValueError if a file is damaged, is of another vocabulary, or is missing.
    """
    weights = {name: weight for name, weight in fusion.weights(folder).items() if weight or name == "lm"}
    return weigh(open_models(weights, fusion.lm, folder, tokenizer, model, device), weights)


def open_models(
    names: Iterable[str],
    lm: Path,
    folder: Path,
    tokenizer: Tokenizer,
    model: Transducer,
    device: str | torch.device = "cpu",
) -> dict[str, LanguageModel]:
    """Return language models of weight 1 by their names.

    `lm` is that of the file, `lodr` the bigram model in the model's folder, and `ilm` the internal language model.
    Raises as `fuse` does.
    """
    found: dict[str, LanguageModel] = {}
    for name in names:
        if name == "lm":
            found[name] = load_language_model(lm, tokenizer, 1.0, device)
        elif name == "lodr":
            found[name] = NGram.of_tables(build_tables(read_bigram(folder), symbol_names(tokenizer)), 1.0, device)
        else:
            found[name] = InternalLm(1.0, model)
    return found


def weigh(models: Mapping[str, LanguageModel], weights: Mapping[str, float]) -> Scorers:
    """Return the scorer of language models with these weights. All but `lm` are subtracted, if they have a weight."""
    used = (name for name in models if weights[name] or name == "lm")
    return Scorers([replace(models[name], weight=SIGNS[name] * weights[name]) for name in used])
