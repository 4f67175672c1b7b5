"""Exported graphs in ONNX Runtime, and greedy search over them without PyTorch.

T encoder frames, D encoder width, V symbols with blank.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

WINDOW = 8  # frames whose logits are computed at once
State = Any


class Engine(Protocol):
    """A model as some runtime runs it."""

    def encode(self, given: np.ndarray) -> np.ndarray:
        """Encode samples (N,) in [-1, 1], or numbers of symbols (S,): frames (T, D)."""

    def start(self) -> State:
        """Return the state before the first symbol, which stands for blank as the last symbol."""

    def logits(self, frames_TD: np.ndarray, state: State) -> tuple[np.ndarray, Callable[[int], State]]:
        """Return the logits (T, V) of frames, and a function that gives the state after one more symbol."""


def open_session(graph: bytes | Path, threads: int = 1) -> Any:
    """Open a graph on the CPU. Raises ValueError if onnxruntime is missing."""
    try:
        import onnxruntime
    except ImportError:
        raise ValueError("exporting needs onnxruntime; install it with: pip install 'rnnt[export]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(
        graph if isinstance(graph, bytes) else str(graph), options, providers=["CPUExecutionProvider"]
    )


class PlainEngine:
    """The graphs encoder.onnx and decoder_joint.onnx of the format `onnx`."""

    def __init__(self, encoder: Any, decoder: Any, blank: int):
        """encoder, decoder: sessions."""
        self._encoder, self._decoder, self._blank = encoder, decoder, blank
        self._inputs = [x.name for x in encoder.get_inputs()]
        self._states = {x.name: x.shape[1:] for x in decoder.get_inputs()[2:]}

    def encode(self, given: np.ndarray) -> np.ndarray:
        """Encode one utterance."""
        values = given.astype(np.float32 if self._inputs[0] == "audio" else np.int64)
        given = dict(zip(self._inputs, (values[None], np.array([len(values)]))))
        (frames_TD,), (length,) = self._encoder.run(None, given)
        return frames_TD[:length]

    def start(self) -> State:
        """Return the last symbol and the predictor's states."""
        return self._blank, {name: np.zeros((1, *shape), np.float32) for name, shape in self._states.items()}

    def logits(self, frames_TD: np.ndarray, state: State) -> tuple[np.ndarray, Callable[[int], State]]:
        """Return the logits (T, V)."""
        symbol, states = state
        logits, *after = self._decoder.run(None, {"encoder": frames_TD[None], "symbols": np.array([symbol]), **states})
        return logits[0], lambda following: (following, dict(zip(states, after)))


class StreamEngine(PlainEngine):
    """The graphs encoder-stream.onnx and decoder_joint.onnx: utterances are encoded in chunks."""

    def __init__(self, encoder: Any, decoder: Any, blank: int, step: int, prefix: int, late: int, rows: int = 4):
        """step, prefix, late: as in config.json. rows: encoder frames of a chunk."""
        super().__init__(encoder, decoder, blank)
        self._sizes = step, prefix, late, rows * step
        kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        self._zeros = {x.name: np.zeros((1, *x.shape[1:]), kinds[x.type]) for x in encoder.get_inputs()[2:]}

    def encode(self, given: np.ndarray) -> np.ndarray:
        """Encode one utterance, chunk by chunk."""
        step, prefix, late, size = self._sizes
        samples, state = given.astype(np.float32), dict(self._zeros)
        past = state["past"] = state["past"].copy()
        past[0, past.shape[1] - prefix :][: len(samples)] = samples[:prefix]
        found = []
        for start in range(0, len(samples) + late * step, size):
            place = start + prefix
            chunk = np.pad(samples[place : place + size], (0, size - len(samples[place : place + size])))
            total = np.array([len(samples) if place + size > len(samples) else -1])
            given = {"audio": chunk[None], "num_samples": total, **state}
            (rows_TD,), (first,), (end,), *after = self._encoder.run(None, given)
            found.append(rows_TD[first:end])
            state = dict(zip(state, after))
        return np.concatenate(found)


def greedy_symbols(engine: Engine, frames_TD: np.ndarray, per_frame: int, most: int) -> list[int]:
    """Return the symbols of an utterance by greedy search. Blank is the last of the vocabulary.

    per_frame, most: limits of the symbols of a frame and of the utterance.
    """
    found: list[int] = []
    state, frame, at_frame = engine.start(), 0, 0
    logits, advance = engine.logits(frames_TD[:WINDOW], state) if len(frames_TD) else (np.zeros((0, 1)), None)
    first = 0
    while frame < len(frames_TD) and len(found) < most:
        if frame >= first + len(logits):
            first = frame
            logits, advance = engine.logits(frames_TD[frame : frame + WINDOW], state)
        best = int(logits[frame - first].argmax())
        if best == logits.shape[1] - 1:
            frame, at_frame = frame + 1, 0
            continue
        found.append(best)
        at_frame += 1
        if at_frame == per_frame:
            frame, at_frame = frame + 1, 0
        state, first = advance(best), frame
        logits, advance = engine.logits(frames_TD[frame : frame + WINDOW], state)
    return found
