"""Fits a model's calibration on a development split: no times of words need to be known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnt.calibration import FILE, Calibration, calibration_json, fit_delays, fit_temperature
from rnnt.dataset import Dataset
from rnnt.decoding import Hypothesis
from rnnt.decoding.alignment import Alignment
from rnnt.error_rate import Pair, align_words
from rnnt.files import write_file
from rnnt.loader import collate
from rnnt.sampler import batches_by_length
from rnnt.transcript import Word
from rnnt.transcription import BATCH_SECONDS
from rnnt.word_times import align_hypotheses, emission_seconds, timed_words

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

_UTTERANCES = 400  # drawn evenly from the split; more would hardly change the result
_ROUNDS = 3  # of finding words with the delays and delays with the words


@dataclass(frozen=True)
class Decoded:
    """An utterance that was decoded and aligned. start: the sample at which its encoder frames begin."""

    reference: str
    hypothesis: Hypothesis
    alignment: Alignment
    samples: np.ndarray
    start: int


def calibrate(
    recognizer: Recognizer,
    dataset: Dataset,
    trained_on: bool = False,
    until: Callable[[Iterable], Iterable] = lambda batches: batches,
) -> Calibration:
    """Return the calibration of a model that suits an audio dataset.

    The delays are the medians of the times between emissions and the words that `word_bounds` finds near them; a few
    rounds let one correct the other. The temperature is fitted to which of the decoded words are right. Utterances
    that cannot be read are left out.

    trained_on: the model was trained on these utterances. It is more often right on them than on others, so the
    temperature stays 1. until(batches): may end the work early.
    """
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(_UTTERANCES, len(dataset))).astype(int))
    decoded = list(decode_aligned(recognizer, dataset.subset(chosen), until))
    calibration = Calibration()
    for _ in range(_ROUNDS):
        starts, ends = [], []
        for item in decoded:
            tokens, seconds = item.hypothesis.tokens, emission_seconds(recognizer, item.alignment, item.start)
            for (first, end), word in zip(
                recognizer.tokenizer.word_spans(tokens), _words(recognizer, calibration, item)
            ):
                starts.append((tokens[first], seconds[first] - word.start))
                ends.append((tokens[end - 1], seconds[end - 1] - word.end))
        if not starts:
            return Calibration()
        (start, by_first), (end, by_last) = fit_delays(starts), fit_delays(ends)
        calibration = Calibration(1.0, start, end, by_first, by_last)
    if trained_on:
        return calibration
    probabilities, correct = scored_words(recognizer, calibration, decoded)
    return replace(calibration, temperature=fit_temperature(probabilities, correct))


def scored_words(
    recognizer: Recognizer, calibration: Calibration, decoded: list[Decoded]
) -> tuple[list[float], list[bool]]:
    """Return the confidence of each decoded word, and whether it is right by a least-error alignment of the texts."""
    confidences, correct = [], []
    words = [_words(recognizer, calibration, item) for item in decoded]
    pairs = [Pair("", item.reference, " ".join(word.word for word in each)) for item, each in zip(decoded, words)]
    for columns, each in zip(align_words(pairs) if pairs else [], words):
        right = [said == heard for said, heard in columns if heard]
        if len(right) == len(each):  # otherwise a word holds white space of its own
            correct += right
            confidences += [word.confidence for word in each]
    return confidences, correct


def decode_aligned(
    recognizer: Recognizer, dataset: Dataset, until: Callable[[Iterable], Iterable] = lambda batches: batches
) -> Iterator[Decoded]:
    """Decode and align each utterance of an audio dataset that can be read, in any order.

    until(batches): may end the work early.
    """
    rate = recognizer.config.features.sample_rate
    batches = batches_by_length(dataset.lengths, recognizer.config.decoding.batch, BATCH_SECONDS * rate)
    with recognizer.inference():
        for indices in until(batches):
            read = []
            for index in indices:
                try:
                    read.append((*dataset.read(index, recognizer.config.features.trim_silence), dataset[index].input))
                except ValueError:
                    continue
            if not read:
                continue
            batch = collate([item.input for item, _, _ in read], [[]] * len(read), [""] * len(read))
            encoder_BTD, lengths = recognizer.encode(batch.to(recognizer.device))
            hypotheses = recognizer.decode(batch, encoder_BTD, lengths)
            alignments = align_hypotheses(recognizer, hypotheses, encoder_BTD, lengths)
            for (item, start, samples), hypothesis, alignment in zip(read, hypotheses, alignments):
                yield Decoded(item.text, hypothesis, alignment, samples, start)


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write the calibration of a model into its folder. Raises OSError if it cannot be written."""
    write_file(folder / FILE, calibration_json(calibration))


def _words(recognizer: Recognizer, calibration: Calibration, item: Decoded) -> list[Word]:
    rate = recognizer.config.features.sample_rate
    seconds = emission_seconds(recognizer, item.alignment, item.start)
    tokens, posteriors = item.hypothesis.tokens, item.alignment.posteriors
    return timed_words(recognizer.tokenizer, calibration, tokens, seconds, posteriors, item.samples, rate)[0]
