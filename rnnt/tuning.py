"""The choice of language models' weights on development data, from one set of n-best lists.

U utterances, K places of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch

from rnnt.config import DecodingConfig
from rnnt.dataset import Dataset
from rnnt.decoding.decoder import configured_decoder
from rnnt.decoding.fusion import LM_WEIGHT, LODR_SHARE, SIGNS, LanguageModel, weigh
from rnnt.decoding.scorer import Scorer, score_sequences
from rnnt.error_rate import Pair, count_errors
from rnnt.evaluation import Alternative, Evaluation
from rnnt.measure import WORDS, Measure
from rnnt.recognizer import Recognizer
from rnnt.references import nearest_references

LIST = 16  # hypotheses of a list
_STEPS = 20  # of a weight from 0 to 1


@dataclass(frozen=True)
class Tuned:
    """The weights that make the fewest errors if the best hypothesis is chosen from each list.

    errors: their number of errors. plain_errors: that of the model alone. fewest: that of the best choices. units: of
    the references.
    """

    weights: dict[str, float]
    errors: int
    plain_errors: int
    fewest: int
    units: int


def tune(
    recognizer: Recognizer,
    dataset: Dataset,
    models: Mapping[str, LanguageModel],
    config: DecodingConfig,
    batch_size: int | None = None,
    track: Callable[[Iterable, int, str], Iterable] = lambda items, total, name: items,
    measure: Measure | None = None,
) -> tuple[Tuned, Evaluation]:
    """Decode a development split once, and choose weights on the lists. models: as `open_models` returns them.

    The lists come from a beam of `LIST`, steered by the default weights. They are in the evaluation that is returned.
    batch_size, track, measure: as in `evaluate`. Raises ValueError if no utterance can be decoded.
    """
    weights = dict.fromkeys(models, 0.0) | {"lm": LM_WEIGHT}
    if "lodr" in models:
        weights["lodr"] = LODR_SHARE * LM_WEIGHT
    wide = replace(config, method="beam", beam=max(LIST, config.beam))
    decoder = configured_decoder(wide, {"lm": weigh(models, weights)})
    result = recognizer.evaluate(dataset, batch_size, track, [decoder], wide.beam, measure)
    found = result.decoders[0]
    lists = score_lists(found.nbest, models, {name: SIGNS[name] * weight for name, weight in weights.items()})
    return tune_weights(lists, found.pairs, result.measure), replace(result, decoders=[replace(found, nbest=lists)])


@torch.inference_mode()
def score_lists(
    lists: Sequence[Sequence[Alternative]], scorers: Mapping[str, Scorer], weights: Mapping[str, float]
) -> list[list[Alternative]]:
    """Add the scores of language models of weight 1 to the entries of n-best lists.

    weights: with which they steered the search that found the lists, negative for those subtracted; 0 if absent. The
    score `blank` is what the model's decisions for and against blank add to a total at the weight 1 (see `Scorer`). It
    follows from the totals, so the weights must not add up to 0.
    """
    sequences = [entry.tokens for entries in lists for entry in entries]
    columns = {name: score_sequences(scorer, sequences) for name, scorer in scorers.items()}
    rows = (dict(zip(columns, row)) for row in zip(*columns.values()))
    return [[_with_scores(entry, scores, weights) for entry, scores in zip(entries, rows)] for entries in lists]


def _with_scores(entry: Alternative, scores: dict[str, float], weights: Mapping[str, float]) -> Alternative:
    added = entry.total - entry.score - sum(weight * scores[name] for name, weight in weights.items())
    return replace(entry, scores=scores | {"blank": added / sum(weights.values())})


def tune_weights(lists: Sequence[Sequence[Alternative]], pairs: Sequence[Pair], measure: Measure = WORDS) -> Tuned:
    """Choose the weights of `lm`, and of `lodr` or `ilm`, by trying all multiples of 0.05 up to 1.

    lists: as `score_lists` returns them. pairs: each utterance's, for its references. What is subtracted has no larger
    weight than `lm`. Larger ones would make up for missing symbols by insertions, which no list shows. If several
    weights make equally few errors, those with the smallest sum are chosen. Raises ValueError if there is no
    utterance.
    """
    if not pairs:
        raise ValueError("no utterance could be decoded, so there is nothing to choose weights on")
    width = max(map(len, lists))
    entries = list(chain.from_iterable(lists))
    place = np.array([(row, k) for row, found in enumerate(lists) for k in range(len(found))]).T

    def spread(values: Sequence[float], missing: float) -> np.ndarray:
        table_UK = np.full((len(lists), width), missing)
        table_UK[tuple(place)] = values
        return table_UK

    spoken = [replace(pair, hypothesis=entry.text) for pair, found in zip(pairs, lists, strict=True) for entry in found]
    errors, lengths = count_errors(nearest_references(spoken, measure.tokens), measure.first)
    errors_UK = spread(errors, np.inf)
    score_UK = spread([entry.score for entry in entries], -np.inf)
    names = [*entries[0].scores]
    scores_UK = {name: spread([entry.scores[name] for entry in entries], 0.0) for name in names}

    def count(weights: Mapping[str, float]) -> int:
        signed = {name: SIGNS[name] * weight for name, weight in weights.items()}
        total_UK = score_UK + sum(signed.values()) * scores_UK["blank"]
        for name, weight in signed.items():
            total_UK = total_UK + weight * scores_UK[name]
        best_U1 = total_UK.argmax(axis=1, keepdims=True)
        return int(np.take_along_axis(errors_UK, best_U1, 1).sum())

    tried = ((count(weights), sum(weights.values()), tuple(weights.values()), weights) for weights in _grid(names))
    fewest_errors, _, _, weights = min(tried, key=lambda found: found[:3])
    units = int(lengths[place[1] == 0].sum())
    return Tuned(weights, fewest_errors, count({}), int(errors_UK.min(axis=1).sum()), units)


def _grid(names: Sequence[str]) -> Iterator[dict[str, float]]:
    """Yield weights, those of what is subtracted last. At most one language model is subtracted."""
    subtracted = [name for name in ("lodr", "ilm") if name in names]
    for lm in range(_STEPS + 1):
        yield {"lm": lm / _STEPS} | {name: 0.0 for name in subtracted}
        for name in subtracted:
            for weight in range(1, lm + 1):
                yield {"lm": lm / _STEPS} | {other: weight / _STEPS * (other == name) for other in subtracted}
