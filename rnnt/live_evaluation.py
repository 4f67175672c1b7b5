"""Streams on a dataset: their texts, how soon each word appears, how long a chunk takes, and how many are as offline.

The audio comes in chunks of equal length, to several streams together. Delays of words are counted in audio, as if
nothing took time to compute. The time that chunks take is measured apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rnnt.dataset import Dataset
from rnnt.decoding.decoder import Decoder, configured_decoder
from rnnt.error_rate import Pair, align_words
from rnnt.known_times import KnownTimes
from rnnt.latency import algorithmic_latency
from rnnt.live import accept_together, finish_together
from rnnt.loader import collate
from rnnt.sampler import batches_by_length
from rnnt.shard import StoredUtterance
from rnnt.text import reason
from rnnt.transcript import Transcript
from rnnt.transcription import BATCH_SECONDS

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

_Seen = list[tuple[int, list[int]]]  # after each chunk: samples so far and the best symbols


@dataclass(frozen=True)
class LiveEvaluation:
    """The results of streams on a dataset, in the dataset's order.

    pairs: of reference and the text of the stream. equal: the number of streams with the symbols of the recording
    decoded at once. delays: seconds (N,) from the end of each word that is right until it appears. computing: seconds
    (M,) that each chunk took, for `streams` streams together. latency: the algorithmic one, in seconds. skipped: (id,
    reason) of utterances without a result; without_times: of those whose words have no delays.
    """

    pairs: list[Pair]
    equal: int
    delays: np.ndarray
    computing: np.ndarray
    streams: int
    chunk_seconds: float
    latency: float
    skipped: list[tuple[str, str]]
    without_times: list[tuple[str, str]]

    def to_json(self) -> dict:
        """Return the figures for `scores.json`; times are in seconds, and None without any."""
        delays, computing = (values if len(values) else None for values in (self.delays, self.computing))
        quantiles = {
            "delay_median": (delays, 0.5),
            "delay_90": (delays, 0.9),
            "compute_median": (computing, 0.5),
            "compute_99": (computing, 0.99),
        }
        found = {
            name: None if values is None else round(float(np.quantile(values, place)), 6)
            for name, (values, place) in quantiles.items()
        }
        counts = {
            "streams": self.streams,
            "equal": self.equal,
            "utterances": len(self.pairs),
            "words": len(self.delays),
        }
        return {"chunk_seconds": self.chunk_seconds, "latency": round(self.latency, 6), **counts, **found}


@dataclass(frozen=True)
class _Result:
    """One utterance. no_times: why its words have no delays; empty if they have."""

    index: int
    pair: Pair
    equal: bool
    delays: list[float]
    no_times: str


def evaluate_live(
    recognizer: Recognizer,
    dataset: Dataset,
    chunk_ms: int = 60,
    batch_size: int | None = None,
    decoder: Decoder | None = None,
    known: Mapping[str, KnownTimes] | None = None,
    track: Callable[[Iterable, int, str], Iterable] = lambda items, total, name: items,
) -> LiveEvaluation:
    """Transcribe every utterance as a stream, in chunks, without endpoints.

    batch_size: streams that advance together. decoder: default: the configured one. known: times of words by the ids of
    utterances; None: the ends of words are found by aligning the texts. track(iterable, total, description) may
    show the progress. Raises ValueError if the model cannot stream, or if the data has another sample rate.
    """
    recognizer.stream()
    rate = recognizer.config.features.sample_rate
    if dataset.sample_rate != rate:
        raise ValueError(f"the data is at {dataset.sample_rate} Hz, the model at {rate} Hz; prepare the data again")
    streams = batch_size or recognizer.config.decoding.batch
    decoder = decoder or configured_decoder(recognizer.config.decoding, recognizer.scorers)
    work = _Work(recognizer, dataset, decoder, max(rate * chunk_ms // 1000, 1), known)
    results = {}
    for result in track(work.results(streams), len(dataset), "streams"):
        results[result.index] = result
    ordered = [results[index] for index in sorted(results)]
    return LiveEvaluation(
        [result.pair for result in ordered],
        sum(result.equal for result in ordered),
        np.array([delay for result in ordered for delay in result.delays]),
        np.array(work.computing),
        streams,
        chunk_ms / 1000,
        sum(algorithmic_latency(recognizer.features, recognizer.model.encoder)),
        work.skipped,
        [(result.pair.id, result.no_times) for result in ordered if result.no_times],
    )


class _Work:
    """Runs batches of streams. computing: seconds that each chunk took. skipped: utterances without a result."""

    def __init__(
        self,
        recognizer: Recognizer,
        dataset: Dataset,
        decoder: Decoder,
        size: int,
        known: Mapping[str, KnownTimes] | None,
    ):
        self.recognizer, self.dataset, self.decoder, self.size, self.known = recognizer, dataset, decoder, size, known
        self.computing: list[float] = []
        self.skipped: list[tuple[str, str]] = []

    def results(self, batch_size: int) -> Iterable[_Result]:
        """Yield the result of each utterance, in any order."""
        limit = BATCH_SECONDS * self.dataset.sample_rate
        for indices in batches_by_length(self.dataset.lengths, batch_size, limit):
            try:
                results = self._run(indices)
            except (ValueError, RuntimeError, OSError):  # run them one by one to find the culprit
                results = []
                for index in indices:
                    try:
                        results += self._run([index])
                    except (ValueError, RuntimeError, OSError) as error:
                        self.skipped.append((self.dataset.id(index), reason(error)))
            yield from results

    def _run(self, indices: Sequence[int]) -> list[_Result]:
        utterances = [self.dataset[index] for index in indices]
        seen, transcripts, computing = self._stream([utterance.input for utterance in utterances])
        offline = self._offline(utterances)
        results = []
        for index, utterance, *of in zip(indices, utterances, seen, transcripts, offline):
            results.append(self._result(index, utterance, *of))
        self.computing += computing
        return results

    def _stream(self, inputs: Sequence[np.ndarray]) -> tuple[list[_Seen], list[Transcript], list[float]]:
        """Give the samples to streams, a chunk of each at a time."""
        streams = [self.recognizer.stream(self.dataset.sample_rate, self.decoder, None) for _ in inputs]
        seen: list[_Seen] = [[] for _ in inputs]
        computing = []
        for place in range(0, max(map(len, inputs)), self.size):
            rows = [row for row, samples in enumerate(inputs) if place < len(samples)]
            chunks = [inputs[row][place : place + self.size].copy() for row in rows]  # torch takes no read-only samples
            before = time.perf_counter()
            accept_together([streams[row] for row in rows], chunks)
            partials = [streams[row].partial for row in rows]
            computing.append(time.perf_counter() - before)
            for row, chunk, partial in zip(rows, chunks, partials):
                seen[row].append((place + len(chunk), partial.tokens))
        return seen, finish_together(streams), computing

    def _offline(self, utterances: Sequence[StoredUtterance]) -> list[list[int]]:
        """Return the symbols of each utterance, decoded at once."""
        recognizer = self.recognizer
        with recognizer.inference():
            batch = collate([u.input for u in utterances], [[]] * len(utterances), [u.id for u in utterances])
            batch = batch.to(recognizer.device)
            found = recognizer.search(batch, *recognizer.encode(batch), self.decoder)
        return [best.tokens for best, *_ in found]

    def _result(
        self, index: int, utterance: StoredUtterance, seen: _Seen, transcript: Transcript, offline: list[int]
    ) -> _Result:
        pair = Pair(utterance.id, utterance.text, transcript.text, transcript.seconds, utterance.speaker)
        delays, no_times = [], ""
        try:
            delays = self._delays(pair, seen, transcript, self._ends(utterance))
        except (ValueError, RuntimeError) as error:
            no_times = reason(error)
        return _Result(index, pair, transcript.tokens == offline, delays, no_times)

    def _ends(self, utterance: StoredUtterance) -> list[float]:
        """Return when each word of an utterance's text ends, in seconds."""
        words = utterance.text.split()
        if self.known is not None:
            times = self.known.get(utterance.id, ())
            if [word for word, _, _ in times] != words:
                raise ValueError("its times are not known, or are those of another text")
            return [end for _, _, end in times]
        aligned = self.recognizer.align(utterance.input.copy(), utterance.text).words
        if len(aligned) != len(words):
            raise ValueError(f"the model divides its text into {len(aligned)} words, not {len(words)}")
        return [word.end for word in aligned]

    def _delays(self, pair: Pair, seen: _Seen, transcript: Transcript, ends: list[float]) -> list[float]:
        """Return how long after its end each word that is right appears, and stays."""
        spans = self.recognizer.tokenizer.word_spans(transcript.tokens)
        if len(spans) != len(transcript.text.split()):
            raise ValueError("the model divides its transcript into other words than its text has")
        found, said, heard = [], 0, 0
        (columns,) = align_words([pair])
        for reference, hypothesis in columns:
            if reference and reference == hypothesis:
                samples = _appearance(seen, transcript.tokens[: spans[heard][1]])
                shown = transcript.seconds if samples is None else samples / self.dataset.sample_rate
                found.append(shown - ends[said])
            said, heard = said + bool(reference), heard + bool(hypothesis)
        return found


def _appearance(seen: _Seen, tokens: list[int]) -> int | None:
    """Return the samples after which a stream's symbols begin with `tokens` for good; None if only its end shows it."""
    appeared = None
    for samples, best in reversed(seen):
        if best[: len(tokens)] != tokens:
            break
        appeared = samples
    return appeared
