"""Utterances whose texts may be wrong: the model finds another text more probable than the given one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rnnt.dataset import Dataset
from rnnt.error_rate import Pair
from rnnt.files import replacing
from rnnt.loader import collate, encode_text, pad_symbols
from rnnt.model.joint import require_no_durations
from rnnt.sampler import batches_by_length
from rnnt.text import tsv_line
from rnnt.transcription import BATCH_SECONDS, BATCH_SYMBOLS

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

_COLUMNS = ("id", "nats_per_symbol", "given_loss", "heard_loss", "speaker", "given", "heard")
_LEAST = 1e-3  # nats, more than the rounding of the losses


@dataclass(frozen=True)
class Suspicion:
    """An utterance whose text was not decoded: the reference of `pair` is the given text, the hypothesis the heard one.

    given_loss, heard_loss: -log P of the two texts, in nats. symbols: the number of symbols of the longer one.
    """

    pair: Pair
    given_loss: float
    heard_loss: float
    symbols: int

    @property
    def excess(self) -> float:
        """By how much the given text is less probable than the heard one, in nats a symbol."""
        return (self.given_loss - self.heard_loss) / max(self.symbols, 1)


def find_suspicious(
    recognizer: Recognizer,
    dataset: Dataset,
    pairs: Sequence[Pair],
    batch_size: int | None = None,
    track: Callable[[Iterable, int, str], Iterable] = lambda items, total, name: items,
) -> list[Suspicion]:
    """Return the utterances whose decoded text is more probable than the given one, the largest excess first.

    pairs: of the evaluation of this dataset. Utterances that are in no pair, and those with a text that cannot be
    encoded or has no finite loss, are left out. track(iterable, total, description) may show the progress. Raises
    ValueError for a token-and-duration model, which has no loss.
    """
    require_no_durations(recognizer.model.joint.durations)
    places = _places(dataset, pairs)
    differing = [i for i, pair in places.items() if pair.hypothesis != pair.reference]
    size = batch_size or recognizer.config.decoding.batch
    limit = BATCH_SECONDS * dataset.sample_rate or BATCH_SYMBOLS
    batches = ([differing[i] for i in rows] for rows in batches_by_length(dataset.lengths[differing], size, limit))
    with recognizer.inference():
        weighed = (each for indices in batches for each in _weigh(recognizer, dataset, places, indices))
        found = [
            each
            for each in track(weighed, len(differing), "weigh the texts")
            if each and math.isfinite(each.excess) and each.given_loss - each.heard_loss > _LEAST
        ]
    return sorted(found, key=lambda each: (-each.excess, each.pair.id))


def write_suspicious(path: Path, found: Iterable[Suspicion]) -> None:
    """Write a table (TSV) of the utterances, with a line that names the columns."""
    with replacing(path) as file:
        file.write(tsv_line(*_COLUMNS).encode())
        for each in found:
            numbers = (f"{x:.3f}" for x in (each.excess, each.given_loss, each.heard_loss))
            pair = each.pair
            file.write(tsv_line(pair.id, *numbers, pair.speaker, pair.reference, pair.hypothesis).encode())


def _places(dataset: Dataset, pairs: Sequence[Pair]) -> dict[int, Pair]:
    """Return the pairs by the number of their utterance. They are in the dataset's order."""
    places: dict[int, Pair] = {}
    left = iter(pairs)
    pair = next(left, None)
    for i in range(len(dataset)):
        if pair is not None and dataset.id(i) == pair.id:
            places[i] = pair
            pair = next(left, None)
    return places


def _weigh(
    recognizer: Recognizer, dataset: Dataset, places: dict[int, Pair], indices: list[int]
) -> Iterator[Suspicion | None]:
    """Yield the losses of both texts of each utterance, or None if they cannot be computed."""
    try:
        yield from _weigh_batch(recognizer, dataset, [places[i] for i in indices], indices)
    except (ValueError, RuntimeError, OSError):
        if len(indices) == 1:
            yield None
        else:  # one by one, so that only the culprit is left out
            for i in indices:
                yield from _weigh(recognizer, dataset, places, [i])


def _weigh_batch(recognizer: Recognizer, dataset: Dataset, pairs: list[Pair], indices: list[int]) -> list[Suspicion]:
    given, heard = (
        [
            encode_text(recognizer.tokenizer, text, float(dataset.sizes[i]), dataset.input)
            for i, text in zip(indices, texts)
        ]
        for texts in ([pair.reference for pair in pairs], [pair.hypothesis for pair in pairs])
    )
    read = [dataset.read(i, recognizer.config.features.trim_silence)[0] for i in indices]
    inputs = [recognizer.numbers(utterance.input) for utterance in read]
    batch = collate(inputs, given, [pair.id for pair in pairs]).to(recognizer.device)
    encoder_BTD, lengths = recognizer.encode(batch)
    with torch.autocast(encoder_BTD.device.type, enabled=False):
        frames = encoder_BTD.float(), lengths
        losses = [recognizer.model.loss(*frames, *pad_symbols(texts)).tolist() for texts in (given, heard)]
    symbols = (max(len(one), len(other)) for one, other in zip(given, heard))
    return [Suspicion(*each) for each in zip(pairs, *losses, symbols)]
