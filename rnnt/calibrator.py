"""Fits a model's calibration on a development split: no times of words need to be known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from rnnt.boundaries import state_edges
from rnnt.calibration import FILE, MOST_SECONDS, Calibration, calibration_json, fit_temperature
from rnnt.dataset import Dataset
from rnnt.decoding import Hypothesis
from rnnt.decoding.alignment import Alignment
from rnnt.error_rate import Pair, align_words
from rnnt.files import write_file
from rnnt.loader import collate
from rnnt.reestimation import estimate_sounds, frequent_characters
from rnnt.sampler import batches_by_length
from rnnt.sounds import MERGED
from rnnt.transcription import BATCH_SECONDS
from rnnt.word_times import Spoken, align_hypotheses, spoken_audio, word_states

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

_UTTERANCES = 400  # drawn evenly from the split; more would hardly change the result
_TURNS = 3  # of finding sounds with the delays and delays with the sounds


@dataclass(frozen=True)
class Decoded:
    """An utterance that was decoded and aligned."""

    reference: str
    hypothesis: Hypothesis
    alignment: Alignment
    spoken: Spoken


def calibrate(
    recognizer: Recognizer,
    dataset: Dataset,
    trained_on: bool = False,
    until: Callable[[Iterable], Iterable] = lambda batches: batches,
) -> Calibration:
    """Return the calibration of a model that suits an audio dataset.

    The sounds of the characters are estimated from the decoded texts. The delays are the medians of the times between
    emissions and the words that are found by these sounds; a few turns let one correct the other. The temperature is
    fitted to which of the decoded words are right. Utterances that cannot be read are left out.

    trained_on: the model was trained on these utterances. It is more often right on them than on others, so the
    temperature stays 1. until(batches): may end the work early.
    """
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(_UTTERANCES, len(dataset))).astype(int))
    decoded = list(decode_aligned(recognizer, dataset.subset(chosen), until))
    calibration = _find_sounds(recognizer, decoded)
    if trained_on:
        return calibration
    probabilities, correct = scored_words(recognizer, Calibration(), decoded)
    return replace(calibration, temperature=fit_temperature(probabilities, correct))


def _find_sounds(recognizer: Recognizer, decoded: list[Decoded]) -> Calibration:
    calibration = Calibration()
    tokens_of = [item.hypothesis.tokens for item in decoded]
    spans = [recognizer.tokenizer.word_spans(tokens) for tokens in tokens_of]
    characters = frequent_characters([recognizer.tokenizer.decode(tokens) for tokens in tokens_of])
    described = [item.spoken.described for item in decoded]
    seconds_of = MERGED * recognizer.config.features.hop / recognizer.config.features.sample_rate
    for _ in range(_TURNS):
        lines = [
            word_states(
                recognizer, calibration, characters, item.hypothesis.tokens, item.alignment, item.spoken.num_samples
            )
            for item in decoded
        ]
        expected = [line.expected for line in lines]
        sounds = estimate_sounds(described, expected, characters, calibration.sounds)
        if sounds is None:
            return calibration
        edges = state_edges([sounds.scores(frames) for frames in described], expected, sounds.stay)
        starts, ends = [], []
        for item, words, line, edge in zip(decoded, spans, lines, edges):
            seconds = [(frame + 0.5) * recognizer.frame_seconds for frame in item.alignment.expected]
            known = (edge - 0.5 / MERGED) * seconds_of
            for (first, end), places in zip(words, line.places):
                starts.append(seconds[first] - known[places[0][0]])
                ends.append(seconds[end - 1] - known[places[-1][1]])
        calibration = Calibration(1.0, _delay(starts), _delay(ends), sounds)
    return calibration


def _delay(seconds: list[float]) -> float:
    """Return the median, within what `read_calibration` takes: a model that has learned nothing emits anywhere."""
    return min(max(float(median(seconds)), -MOST_SECONDS), MOST_SECONDS)


def scored_words(
    recognizer: Recognizer, calibration: Calibration, decoded: list[Decoded]
) -> tuple[list[float], list[bool]]:
    """Return the confidence of each decoded word, and whether it is right by a least-error alignment of the texts."""
    tokenizer = recognizer.tokenizer
    pairs, probabilities = [], []
    for item in decoded:
        tokens, spans = item.hypothesis.tokens, tokenizer.word_spans(item.hypothesis.tokens)
        words = [tokenizer.decode(tokens[first:end]).strip() for first, end in spans]
        pairs.append(Pair("", item.reference, " ".join(words)))
        probabilities.append([math.prod(item.alignment.posteriors[first:end]) for first, end in spans])
    confidences, correct = [], []
    for columns, each in zip(align_words(pairs) if pairs else [], probabilities):
        right = [said == heard for said, heard in columns if heard]
        if len(right) == len(each):  # otherwise a word holds white space of its own
            correct += right
            confidences += calibration.confidences(each)
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
            batch = batch.to(recognizer.device)
            features_BTF, encoder_BTD, lengths = recognizer.listen(batch)
            hypotheses = recognizer.decode(batch, encoder_BTD, lengths)
            alignments = align_hypotheses(recognizer, hypotheses, encoder_BTD, lengths)
            inputs, starts = [item.input for item, _, _ in read], [start for _, start, _ in read]
            spoken = spoken_audio(recognizer, features_BTF, inputs, starts, described=True)
            for (item, _, _), *each in zip(read, hypotheses, alignments, spoken):
                yield Decoded(item.text, *each)


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write the calibration of a model into its folder. Raises OSError if it cannot be written."""
    write_file(folder / FILE, calibration_json(calibration))
