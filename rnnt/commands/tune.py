"""The option `--tune` of the verb `evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.commands.terminal import show

if TYPE_CHECKING:
    from rnnt.dataset import Dataset
    from rnnt.decoding.decoder import Decoder
    from rnnt.evaluation import Evaluation
    from rnnt.measure import Measure
    from rnnt.recognizer import Recognizer


def evaluate_tuned(
    recognizer: Recognizer,
    folder: Path,
    lm: Path,
    dataset: Dataset,
    splits: str,
    decoder: Decoder,
    batch_size: int | None,
    track: Callable[[Iterable, int, str], Iterable],
    measure: Measure,
) -> Evaluation:
    """Choose the weights of language models on a dataset, say which, and evaluate the decoder without and with them.

    folder: the model's. splits: the names of the dataset's splits. The n-best lists are those of the last decoder.
    """
    from rnnt.decoding.decoder import Decoder
    from rnnt.decoding.fusion import open_models, weigh
    from rnnt.ngram.bigram import BIGRAM
    from rnnt.tuning import tune

    if "test" in splits.lower():
        show(f"warning: weights are chosen on {splits}, which is no test data from now on", file=sys.stderr)
    names = ["lm", "lodr", "ilm"] if (folder / BIGRAM).is_file() else ["lm", "ilm"]
    models = open_models(names, lm, folder, recognizer.tokenizer, recognizer.model, recognizer.device)
    tuned, lists = tune(recognizer, dataset, models, decoder.config, batch_size, track, measure)
    options = " ".join(f"--{name}-weight {weight:g}" for name, weight in tuned.weights.items())
    before, after, fewest = (
        f"{100 * errors / max(tuned.units, 1):.2f} %" for errors in (tuned.plain_errors, tuned.errors, tuned.fewest)
    )
    show(
        f"chosen on {splits}, {len(lists.pairs)} utterances: {options}",
        f"  {measure.first.label} of the choice from the lists: {after}, without language models {before}, "
        f"at best {fewest}",
        f"  use: --lm {lm} {options}",
        f"{splits} is tuning data now: the error rate with these weights is too low there; score them on other data",
    )
    steered = Decoder(f"{decoder.name}+lm", decoder.config, (weigh(models, tuned.weights),))
    result = recognizer.evaluate(dataset, batch_size, track, [decoder, steered], measure=measure)
    return replace(result, decoders=[*result.decoders, *lists.decoders])
