"""The check of an export: the same utterances by torch and by the exported graphs, and how far they differ.

T encoder frames, D encoder width, V symbols with blank.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rnnt.dataset import Dataset
from rnnt.decoding.greedy import greedy
from rnnt.decoding.hypothesis import Hypothesis
from rnnt.error_rate import Pair, score_pairs
from rnnt.export.graph import DecoderJoint
from rnnt.export.runtime import Engine, greedy_symbols
from rnnt.loader import collate
from rnnt.measure import measure_of
from rnnt.recognizer import Recognizer
from rnnt.references import merge_pairs
from rnnt.silence import trim_silence
from rnnt.usage import Usage, measured

_MOST_PROBED = 100  # utterances of which logits are compared


@dataclass(frozen=True)
class Reference:
    """An utterance by torch. given: samples in [-1, 1] or numbers of symbols. logits: (V,) of each node of the path."""

    given: np.ndarray
    pair: Pair
    best: Hypothesis
    length: int  # encoder frames
    logits: np.ndarray | None


@dataclass(frozen=True)
class Result:
    """What one engine made of a split.

    rate: its error rate. differing: utterances whose symbols are not torch's. largest: difference of logits. bias: by
    how many nats blank is too probable, the median. speed: seconds of audio, or symbols, a second. peak_bytes: memory
    that it added to the process. bytes: of its files.
    """

    name: str
    rate: float
    differing: int
    largest: float
    bias: float
    speed: float
    peak_bytes: int
    bytes: int


def read_references(
    recognizer: Recognizer, dataset: Dataset, track: Callable[[Iterable, int, str], Iterable]
) -> tuple[list[Reference], Result]:
    """Decode a split by torch, greedily, one utterance at a time. Utterances that cannot be read are left out.

    Raises ValueError if the split has another input or sample rate, or if nothing is left.
    """
    recognizer.require_input(dataset.input)
    rate = recognizer.config.features.sample_rate if dataset.input == "audio" else 0
    if dataset.sample_rate != rate:
        raise ValueError(
            f"--check: the data is at {dataset.sample_rate} Hz, the model at {rate} Hz; prepare it again with the "
            "model's rate"
        )
    decoder = DecoderJoint(recognizer.model, recognizer.config.decoding.blank_penalty).eval()
    references: list[Reference] = []
    usage = Usage()
    for index in track(range(len(dataset)), len(dataset), "torch"):
        try:
            utterance = dataset[index]
        except ValueError:
            continue
        numbers = recognizer.numbers(utterance.input)
        heard = trim_silence(numbers) if rate and recognizer.config.features.trim_silence else numbers
        with recognizer.inference():
            (best, encoder_BTD), used = measured(_decode, recognizer, heard, device=recognizer.device)
            logits = None
            if len(references) < _MOST_PROBED:
                logits = _path_logits(_TorchEngine(decoder), encoder_BTD[0].numpy(), best)
        usage = usage + used
        given_symbols = tuple(utterance.input) if dataset.input == "symbols" else ()
        text = recognizer.tokenizer.decode(best.tokens)
        pair = Pair(utterance.id, utterance.text, text, 0.0, utterance.speaker, given_symbols)
        given = numbers.astype(np.float32) / 32768 if rate else numbers
        references.append(Reference(given, pair, best, encoder_BTD.shape[1], logits))
    if not references:
        raise ValueError("--check: no utterance of the data can be read; give another split")
    size = sum(len(each.given) for each in references) / (rate or 1)
    count = sum(x.numel() * x.element_size() for x in recognizer.state_dict().values())
    return references, Result(
        "torch", _rate(recognizer, [each.pair for each in references]), 0, 0.0, 0.0, size / usage.seconds, 0, count
    )


def check_engine(
    name: str,
    recognizer: Recognizer,
    make: Callable[[], Engine],
    size: int,
    references: Sequence[Reference],
    track: Callable[[Iterable, int, str], Iterable],
) -> Result:
    """Decode the utterances by an engine and compare. size: bytes of its files. make: opens it."""
    before = _memory()
    engine = make()
    config = recognizer.config
    pairs, differing, largest, peak, seconds = [], 0, 0.0, 0, 0.0
    shifts: list[np.ndarray] = []
    for each in track(references, len(references), name):
        begin = time.perf_counter()
        frames_TD = engine.encode(each.given)
        limit = int(recognizer.symbol_limits(torch.tensor([len(each.given)]))[0])
        found = greedy_symbols(engine, frames_TD, config.decoding.max_symbols_per_frame, limit)
        seconds += time.perf_counter() - begin
        differing += found != each.best.tokens
        text = recognizer.tokenizer.decode(found)
        pairs.append(Pair(each.pair.id, each.pair.reference, text, 0.0, each.pair.speaker, each.pair.input))
        if each.logits is not None:
            if len(frames_TD) != each.length:
                raise ValueError(f"{name} has {len(frames_TD)} encoder frames of {each.pair.id}, torch {each.length}")
            logits = _path_logits(engine, frames_TD, each.best)
            largest = max(largest, float(np.abs(logits - each.logits).max(initial=0.0)))
            shifts.append(_odds_of_blank(logits) - _odds_of_blank(each.logits))
        peak = max(peak, _memory() - before)
    work = sum(len(each.given) for each in references) / (config.features.sample_rate if config.input == "audio" else 1)
    bias = float(np.median(np.concatenate(shifts))) if shifts else 0.0
    return Result(name, _rate(recognizer, pairs), differing, largest, bias, work / seconds, peak, size)


def damage(engine: Engine, references: Sequence[Reference]) -> float:
    """Return the mean difference of logits to torch's on the paths of the utterances that have them."""
    total, count = 0.0, 0
    for each in references:
        if each.logits is not None:
            difference = np.abs(_path_logits(engine, engine.encode(each.given), each.best) - each.logits)
            total, count = total + float(difference.sum()), count + difference.size
    return total / max(count, 1)


def result_table(results: Sequence[Result], label: str, unit: str) -> list[str]:
    """Return the results as lines of a table. label: of the error rate. unit: of the speed."""
    head = ("", label, "differ", "logits", unit, "MB", "memory MB")
    rows = [
        (
            each.name,
            f"{100 * each.rate:.2f} %",
            str(each.differing),
            f"{each.largest:.1e}",
            f"{each.speed:.1f}",
            f"{each.bytes / 1e6:.2f}",
            f"{each.peak_bytes / 1e6:.0f}" if each.peak_bytes else "-",
        )
        for each in results
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    return [
        "  ".join(x.ljust(w) if i == 0 else x.rjust(w) for i, (x, w) in enumerate(zip(row, widths)))
        for row in (head, *rows)
    ]


class _TorchEngine:
    """The predictor and joint of torch, as an engine that has encoder frames already."""

    def __init__(self, decoder: DecoderJoint):
        self._decoder = decoder

    def start(self) -> Any:
        lstm, blank = self._decoder.lstm, len(self._decoder.blank_bias) - 1
        return blank, (torch.zeros(1, lstm.num_layers, lstm.hidden_size),) * 2

    def logits(self, frames_TD: np.ndarray, state: Any) -> tuple[np.ndarray, Callable[[int], Any]]:
        symbol, states = state
        logits, *after = self._decoder(torch.from_numpy(frames_TD)[None], torch.tensor([symbol]), *states)
        return logits[0].numpy(), lambda following: (following, tuple(after))


def _decode(recognizer: Recognizer, heard: np.ndarray) -> tuple[Hypothesis, torch.Tensor]:
    batch = collate([heard], [[]], [""])
    encoder_BTD, lengths = recognizer.encode(batch)
    limits = recognizer.symbol_limits(batch.input_lengths)
    (best,) = greedy(recognizer.model, encoder_BTD, lengths, recognizer.config.decoding, (), limits)
    return best, encoder_BTD


def _path_logits(engine: Any, frames_TD: np.ndarray, path: Hypothesis) -> np.ndarray:
    """Return the logits (nodes, V) of every node on the path of a hypothesis."""
    found, state, frame = [], engine.start(), 0
    for symbol, place in zip([*path.tokens, None], [*path.frames, len(frames_TD) - 1]):
        logits, advance = engine.logits(frames_TD[frame : place + 1], state)
        found.append(logits)
        if symbol is not None:
            state, frame = advance(symbol), place
    return np.concatenate(found)


def _odds_of_blank(logits: np.ndarray) -> np.ndarray:
    """Return the logarithm of the odds of blank at each node, (nodes,)."""
    labels = logits[:, :-1].astype(np.float64)
    top = labels.max(1)
    return logits[:, -1] - top - np.log(np.exp(labels - top[:, None]).sum(1))


def _rate(recognizer: Recognizer, pairs: list[Pair]) -> float:
    measure = measure_of(recognizer.config.scoring)
    return score_pairs(merge_pairs(pairs, measure.tokens), measure.first, resamples=1).rate


def _memory() -> int:
    """Return the memory that this process holds, in bytes; 0 if the system does not say."""
    try:
        with open("/proc/self/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
    except (OSError, StopIteration):
        return 0
