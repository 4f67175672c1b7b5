"""A model on a dataset: the pairs of reference and hypothesis, the loss, and the utterances that were skipped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from rnnt.dataset import Dataset
from rnnt.decoding import Hypothesis
from rnnt.decoding.decoder import Decoder, configured_decoder
from rnnt.error_rate import Pair
from rnnt.loader import Batch, collate, encode_text, pad_symbols
from rnnt.measure import WORDS, Measure, measure_of
from rnnt.references import group_inputs, merge_pairs
from rnnt.sampler import batches_by_length
from rnnt.text import reason
from rnnt.transcription import BATCH_SECONDS, BATCH_SYMBOLS, make_transcript
from rnnt.usage import Usage, measured

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

_MARGIN = 1e-3  # nats by which log-probabilities differ at least, more than their rounding


@dataclass(frozen=True)
class Alternative:
    """An entry of an n-best list. score and total: as in `Hypothesis`; without scorers they are the same.

    scores: of language models, see `rnnt.tuning`.
    """

    text: str
    tokens: list[int]
    score: float
    total: float
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DecoderResult:
    """The results of one decoder, in the dataset's order. Utterances with equal symbols as input are one pair.

    truncated: ids of utterances whose transcript `decoding.max_symbols` ended early. nbest: each utterance's best
    hypotheses, if they were asked for. usage: of the search, with its memory if there are several decoders. lower,
    higher: the number of utterances whose symbols are less, and more, probable than those of the first decoder. Both
    probabilities are the model's, summed over all alignments.
    """

    decoder: str
    pairs: list[Pair]
    truncated: list[str]
    nbest: list[list[Alternative]]
    usage: Usage
    lower: int = 0
    higher: int = 0


@dataclass(frozen=True)
class Evaluation:
    """The results on a dataset.

    pairs: of the first decoder, in the dataset's order; loss: its mean in nats a symbol, over `symbols` symbols;
    skipped: (id, reason) of utterances that could not be read or decoded; truncated: ids of utterances whose transcript
    by the first decoder `decoding.max_symbols` ended early; without_loss: (id, reason) of utterances that are in the
    pairs but not in the loss; encoder: the usage of features and encoder; measure: that the pairs are to be scored by;
    decoded: the number of utterances in the pairs, some of which are merged with others of the same input.
    """

    pairs: list[Pair]
    loss: float
    symbols: int
    skipped: list[tuple[str, str]]
    truncated: list[str]
    without_loss: list[tuple[str, str]] = field(default_factory=list)
    decoders: list[DecoderResult] = field(default_factory=list)
    encoder: Usage = field(default_factory=Usage)
    measure: Measure = WORDS
    decoded: int = 0


@dataclass(frozen=True)
class _Decoded:
    """One utterance by one decoder. gain: log-probability of its symbols minus that of the first decoder's."""

    pair: Pair
    truncated: bool
    nbest: list[Alternative]
    gain: float


@dataclass(frozen=True)
class _Result:
    """One utterance: its place in the dataset and either what each decoder found or why it was not scored."""

    index: int
    decoded: tuple[_Decoded, ...] = ()
    loss: float = 0.0
    symbols: int = 0
    problem: str = ""
    no_loss: str = ""  # the reason why the loss does not count


def evaluate(
    recognizer: Recognizer,
    dataset: Dataset,
    batch_size: int | None = None,
    track: Callable[[Iterable, int, str], Iterable] = lambda items, total, name: items,
    decoders: Sequence[Decoder] = (),
    nbest: int = 0,
    measure: Measure | None = None,
) -> Evaluation:
    """Decode every utterance and compare it with its text.

    An utterance that cannot be read or decoded is skipped and listed; its words are not scored. An utterance whose
    reference holds symbols that the tokenizer does not know is scored, left out of the loss, and listed too.
    track(iterable, total, description) may show the progress. decoders: several share the encoder's work, and score the
    same utterances; default: the configured one. nbest: the most hypotheses to keep in each `DecoderResult.nbest`.
    measure: default: the configured one. Utterances with equal symbols as input are one pair, with all their texts as
    references.
    Raises ValueError if the data has another sample rate, or if no decoder keeps `nbest` hypotheses.
    """
    recognizer.require_input(dataset.input)
    rate = recognizer.config.features.sample_rate if dataset.input == "audio" else 0
    if dataset.sample_rate != rate:
        raise ValueError(
            f"the data is at {dataset.sample_rate} Hz, the model at {rate} Hz; prepare the data again with the "
            "model's rate"
        )
    size = batch_size or recognizer.config.decoding.batch
    decoders = decoders or [configured_decoder(recognizer.config.decoding, recognizer.scorers)]
    if nbest > max(decoder.width for decoder in decoders):
        raise ValueError(f"lists of the {nbest} best hypotheses need a beam of {nbest}; give --decoding beam:{nbest}")
    measure = measure or measure_of(recognizer.config.scoring)
    work = _Work(recognizer, dataset, decoders, nbest)
    found: dict[int, tuple[_Decoded, ...]] = {}
    skipped: list[tuple[str, str]] = []
    without_loss: list[tuple[str, str]] = []
    loss, symbols = 0.0, 0
    with recognizer.inference():
        for result in track(work.results(size, BATCH_SECONDS * rate or BATCH_SYMBOLS), len(dataset), "evaluate"):
            if not result.decoded:
                skipped.append((dataset.id(result.index), result.problem))
                continue
            found[result.index] = result.decoded
            if result.no_loss:
                without_loss.append((result.decoded[0].pair.id, result.no_loss))
            else:
                loss, symbols = loss + result.loss, symbols + result.symbols
    ordered = [found[i] for i in sorted(found)]
    results = [
        _summary(decoder, usage, [row[place] for row in ordered], measure)
        for place, (decoder, usage) in enumerate(zip(work.decoders, work.usages[1:]))
    ]
    mean = loss / symbols if symbols else math.nan
    first = results[0]
    return Evaluation(
        first.pairs, mean, symbols, skipped, first.truncated, without_loss, results, work.usages[0], measure, len(found)
    )


def _summary(decoder: Decoder, usage: Usage, decoded: list[_Decoded], measure: Measure) -> DecoderResult:
    pairs = [each.pair for each in decoded]
    decoded = [decoded[places[0]] for places in group_inputs(pairs)]  # equal inputs are decoded alike
    return DecoderResult(
        decoder.name,
        merge_pairs(pairs, measure.tokens),
        [each.pair.id for each in decoded if each.truncated],
        [each.nbest for each in decoded if each.nbest],
        usage,
        sum(each.gain < -_MARGIN for each in decoded),
        sum(each.gain > _MARGIN for each in decoded),
    )


class _Work:
    """Decodes batches. `usages` are those so far, without batches that failed: of the encoder, then of each decoder."""

    def __init__(self, recognizer: Recognizer, dataset: Dataset, decoders: Sequence[Decoder], nbest: int):
        self.recognizer, self.dataset, self.decoders, self.nbest = recognizer, dataset, decoders, nbest
        self.usages = [Usage() for _ in range(1 + len(decoders))]

    def results(self, batch_size: int, limit: int) -> Iterator[_Result]:
        for indices in batches_by_length(self.dataset.lengths, batch_size, limit):
            try:
                results = self._evaluate(indices)
            except (ValueError, RuntimeError, OSError):  # decode one by one to find the culprit
                results = []
                for i in indices:
                    try:
                        results += self._evaluate([i])
                    except (ValueError, RuntimeError, OSError) as error:
                        results.append(_Result(i, problem=reason(error)))
            yield from results

    def _evaluate(self, indices: list[int]) -> list[_Result]:
        recognizer, dataset = self.recognizer, self.dataset
        read = [dataset.read(i, recognizer.config.features.trim_silence) for i in indices]
        targets, unknown = [], []
        for i, (utterance, _) in zip(indices, read):
            try:
                size = float(dataset.sizes[i])
                targets.append(encode_text(recognizer.tokenizer, utterance.text, size, dataset.input))
                unknown.append("")
            except ValueError as error:  # an unknown symbol, too many of them, or a text that is not valid Unicode
                targets.append([])
                unknown.append(reason(error))
        inputs = [recognizer.numbers(utterance.input) for utterance, _ in read]
        batch = collate(inputs, targets, [utterance.id for utterance, _ in read]).to(recognizer.device)
        ((encoder_BTD, lengths), *found), usages = self._decode(batch)
        try:
            losses = [math.nan] * len(indices)
            if recognizer.model.joint.durations:
                unknown = [each or "a token-and-duration model has none" for each in unknown]
            else:
                losses = recognizer.model.loss(encoder_BTD, lengths, batch.targets, batch.target_lengths).tolist()
        except (ValueError, RuntimeError) as error:
            if len(indices) > 1:
                raise
            losses, unknown = [math.nan], [unknown[0] or reason(error)]  # it is scored all the same
        gains = self._gains(encoder_BTD, lengths, found)
        results = []
        for row, (i, (utterance, start)) in enumerate(zip(indices, read)):
            decoded, given = [], tuple(utterance.input) if dataset.input == "symbols" else ()
            for hypotheses, gain in zip(found, gains):
                best, *_ = hypotheses[row]
                transcript = make_transcript(recognizer, best, start, int(dataset.lengths[i]))
                pair = Pair(utterance.id, utterance.text, transcript.text, transcript.seconds, utterance.speaker, given)
                decoded.append(_Decoded(pair, best.truncated, self._alternatives(hypotheses[row]), gain[row]))
            no_loss = unknown[row] or ("" if math.isfinite(losses[row]) else "its loss is not finite")
            results.append(_Result(i, tuple(decoded), losses[row], len(targets[row]), no_loss=no_loss))
        self.usages = [before + usage for before, usage in zip(self.usages, usages)]
        return results

    def _decode(self, batch: Batch) -> tuple[list, list[Usage]]:
        """Return the encoder's output and each decoder's hypotheses, and the usages."""
        how = {"device": self.recognizer.device, "peak": len(self.decoders) > 1}
        encoded, usage = measured(self.recognizer.encode, batch, **how)
        results, usages = [encoded], [usage]
        for decoder in self.decoders:
            result, usage = measured(self.recognizer.search, batch, *encoded, decoder, **how)
            results.append(result)
            usages.append(usage)
        return results, usages

    def _alternatives(self, hypotheses: list[Hypothesis]) -> list[Alternative]:
        decode = self.recognizer.tokenizer.decode
        return [
            Alternative(decode(each.tokens), each.tokens, each.score, each.score if each.total is None else each.total)
            for each in hypotheses[: self.nbest]
        ]

    def _gains(
        self, encoder_BTD: torch.Tensor, lengths: torch.Tensor, found: list[list[list[Hypothesis]]]
    ) -> list[list[float]]:
        """Return what each decoder's symbols gain in log-probability on those of the first, for each utterance."""
        best = [[hypotheses[0].tokens for hypotheses in each] for each in found]
        gains = [[0.0] * len(lengths) for _ in found]
        rows = [row for row, texts in enumerate(zip(*best)) if any(text != texts[0] for text in texts)]
        if not rows or self.recognizer.model.joint.durations:
            return gains
        places = torch.tensor(rows, device=encoder_BTD.device)
        frames = encoder_BTD[places], lengths[places.to(lengths.device)]
        try:
            log_probs = [_log_probs(self.recognizer, *frames, [texts[row] for row in rows]) for texts in best]
        except (ValueError, RuntimeError):
            if len(lengths) > 1:
                raise
            return gains  # an utterance whose texts cannot be scored is decoded all the same
        for gain, values, texts in zip(gains, log_probs, best):
            for row, value, first in zip(rows, values, log_probs[0]):
                gain[row] = value - first if texts[row] != best[0][row] else 0.0
        return gains


def _log_probs(
    recognizer: Recognizer, encoder_BTD: torch.Tensor, lengths: torch.Tensor, texts: list[list[int]]
) -> list[float]:
    """Return the log-probability of each utterance's symbols, over all alignments, in float32."""
    with torch.autocast(encoder_BTD.device.type, enabled=False):
        return (-recognizer.model.loss(encoder_BTD.float(), lengths, *pad_symbols(texts))).tolist()
