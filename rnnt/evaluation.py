"""A model on a dataset: the pairs of reference and hypothesis, the loss, and the utterances that were skipped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rnnt.dataset import Dataset
from rnnt.error_rate import Pair
from rnnt.loader import collate, encode_spoken
from rnnt.sampler import batches_by_length
from rnnt.text import reason
from rnnt.transcription import BATCH_SECONDS, make_transcript

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer


@dataclass(frozen=True)
class Evaluation:
    """The results on a dataset.

    pairs: in the dataset's order; loss: its mean in nats a symbol, over `symbols` symbols; skipped: (id, reason) of
    utterances that could not be read or decoded; truncated: ids of utterances whose transcript `decoding.max_symbols`
    ended early; without_loss: (id, reason) of utterances that are in the pairs but not in the loss.
    """

    pairs: list[Pair]
    loss: float
    symbols: int
    skipped: list[tuple[str, str]]
    truncated: list[str]
    without_loss: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Result:
    """One utterance: its place in the dataset and either its pair or the reason why it was not scored."""

    index: int
    pair: Pair | None = None
    loss: float = 0.0
    symbols: int = 0
    truncated: bool = False
    problem: str = ""
    no_loss: str = ""  # the reason why the loss does not count


def evaluate(
    recognizer: Recognizer,
    dataset: Dataset,
    batch_size: int | None = None,
    track: Callable[[Iterable, int, str], Iterable] = lambda items, total, name: items,
) -> Evaluation:
    """Decode every utterance and compare it with its text.

    An utterance that cannot be read or decoded is skipped and listed; its words are not scored. An utterance whose
    reference holds symbols that the tokenizer does not know is scored, left out of the loss, and listed too.
    track(iterable, total, description) may show the progress. Raises ValueError if the data has another sample rate.
    """
    rate = recognizer.config.features.sample_rate
    if dataset.sample_rate != rate:
        raise ValueError(
            f"the data is at {dataset.sample_rate} Hz, the model at {rate} Hz; prepare the data again with the "
            "model's rate"
        )
    size = batch_size or recognizer.config.decoding.batch
    results = _results(recognizer, dataset, size, BATCH_SECONDS * rate)
    pairs: dict[int, Pair] = {}
    skipped: list[tuple[str, str]] = []
    truncated: list[str] = []
    without_loss: list[tuple[str, str]] = []
    loss, symbols = 0.0, 0
    with recognizer.inference():
        for result in track(results, len(dataset), "evaluate"):
            if result.pair is None:
                skipped.append((dataset.id(result.index), result.problem))
                continue
            pairs[result.index] = result.pair
            if result.truncated:
                truncated.append(result.pair.id)
            if result.no_loss:
                without_loss.append((result.pair.id, result.no_loss))
            else:
                loss, symbols = loss + result.loss, symbols + result.symbols
    ordered = [pairs[i] for i in sorted(pairs)]
    return Evaluation(ordered, loss / symbols if symbols else math.nan, symbols, skipped, truncated, without_loss)


def _results(recognizer: Recognizer, dataset: Dataset, batch_size: int, limit: int) -> Iterator[_Result]:
    for indices in batches_by_length(dataset.lengths, batch_size, limit):
        try:
            results = _evaluate_batch(recognizer, dataset, indices)
        except (ValueError, RuntimeError, OSError):  # decode one by one to find the culprit
            results = []
            for i in indices:
                try:
                    results += _evaluate_batch(recognizer, dataset, [i])
                except (ValueError, RuntimeError, OSError) as error:
                    results.append(_Result(i, problem=reason(error)))
        yield from results


def _evaluate_batch(recognizer: Recognizer, dataset: Dataset, indices: list[int]) -> list[_Result]:
    read = [dataset.read(i, recognizer.config.features.trim_silence) for i in indices]
    rate = recognizer.config.features.sample_rate
    targets, unknown = [], []
    for i, (utterance, _) in zip(indices, read):
        try:
            targets.append(encode_spoken(recognizer.tokenizer, utterance.text, int(dataset.lengths[i]) / rate))
            unknown.append("")
        except ValueError as error:  # an unknown symbol, too many of them, or a text that is not valid Unicode
            targets.append([])
            unknown.append(reason(error))
    batch = collate([utterance.input for utterance, _ in read], targets, [utterance.id for utterance, _ in read])
    batch = batch.to(recognizer.device)
    encoder_BTD, lengths = recognizer.encode(batch)
    hypotheses = recognizer.decode(batch, encoder_BTD, lengths)
    try:
        losses = recognizer.model.loss(encoder_BTD, lengths, batch.targets, batch.target_lengths).tolist()
    except (ValueError, RuntimeError) as error:
        if len(indices) > 1:
            raise
        losses, unknown = [math.nan], [unknown[0] or reason(error)]  # it is scored all the same
    results = []
    for i, (utterance, start), hypothesis, loss, target, no_loss in zip(
        indices, read, hypotheses, losses, targets, unknown
    ):
        transcript = make_transcript(recognizer, hypothesis, start, int(dataset.lengths[i]))
        pair = Pair(utterance.id, utterance.text, transcript.text, transcript.seconds, utterance.speaker)
        no_loss = no_loss or ("" if math.isfinite(loss) else "its loss is not finite")
        results.append(_Result(i, pair, loss, len(target), hypothesis.truncated, no_loss=no_loss))
    return results
