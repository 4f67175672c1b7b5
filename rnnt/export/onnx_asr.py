"""The format `onnx-asr`: a folder that the package onnx-asr loads as `nemo-conformer-rnnt`.

encoder-model.onnx         log-mel powers, normalized -> frames
decoder_joint-model.onnx   a frame, the last symbol and states -> logits and states
vocab.txt, config.json
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnnt.export.format import Format, Graphs
from rnnt.export.nemo_graphs import NemoDecoderJoint, decoder_example, log_mel, require_features, trace_encoder
from rnnt.export.onnx_file import trace
from rnnt.export.runtime import Engine, State, open_session
from rnnt.export.tokens import token_names, tokens_text
from rnnt.features import Features
from rnnt.files import write_file, write_json
from rnnt.recognizer import Recognizer

ENCODER, DECODER = "encoder-model.onnx", "decoder_joint-model.onnx"
_FREE = ("mels", "dither")


def onnx_asr_graphs(recognizer: Recognizer) -> dict[str, Any]:
    """Return the graphs. Raises ValueError if onnx-asr computes other features than the model hears."""
    require_features(recognizer, "nemo", "onnx-asr", _FREE)
    features = recognizer.config.features
    if features.mels not in (80, 128):
        raise ValueError(f"features.mels is {features.mels}; onnx-asr computes 80 or 128 mel bins: train with these")
    if features.dither > 1e-4:
        raise ValueError(f"features.dither is {features.dither:g}; onnx-asr adds none: train with features.dither=0")
    about = {"model_type": "nemo-conformer-rnnt"}
    names = ("audio_signal", "length", "outputs", "encoded_lengths")
    inputs = ("encoder_outputs", "targets", "target_length", "input_states_1", "input_states_2")
    outputs = ("outputs", "prednet_lengths", "output_states_1", "output_states_2")
    encoder = trace_encoder(recognizer, True, names, about)
    example = torch.randn(1, recognizer.model.encoder.width, 1), *decoder_example(recognizer)
    axes = {"encoder_outputs": {0: "B", 2: "T"}, "targets": {0: "B"}, "target_length": {0: "B"}}
    axes |= {"outputs": {0: "B", 1: "T"}, "prednet_lengths": {0: "B"}}
    axes |= {name: {1: "B"} for name in (*inputs[3:], *outputs[2:])}
    decoder = trace(NemoDecoderJoint(recognizer), example, inputs, outputs, axes, about)
    return {ENCODER: encoder, DECODER: decoder}


class OnnxAsrEngine:
    """The graphs as onnx-asr runs them, with the features of torch, which equal its own."""

    def __init__(self, encoder: Any, decoder: Any, features: Features, blank: int):
        self._encoder, self._decoder, self._features, self._blank = encoder, decoder, features, blank
        shapes = [x.shape for x in decoder.get_inputs()[3:]]
        self._states = [np.zeros((shape[0], 1, shape[2]), np.float32) for shape in shapes]

    def encode(self, given: np.ndarray) -> np.ndarray:
        """Encode one utterance."""
        mel = log_mel(self._features, given, True)
        (frames_DT,), (length,) = self._encoder.run(None, {"audio_signal": mel, "length": np.array([mel.shape[2]])})
        return frames_DT[:, :length].T

    def start(self) -> State:
        """Return the last symbol and the states."""
        return self._blank, self._states

    def logits(self, frames_TD: np.ndarray, state: State) -> tuple[np.ndarray, Callable[[int], State]]:
        """Return the logits (T, V)."""
        symbol, states = state
        given = frames_TD.T[None], np.array([[symbol]], np.int32), np.ones(1, np.int32), *states
        logits, _, *after = self._decoder.run(None, dict(zip((x.name for x in self._decoder.get_inputs()), given)))
        return logits[0, :, 0], lambda following: (following, after)


def onnx_asr_engines(recognizer: Recognizer, graphs: Graphs) -> dict[str, Callable[[], Engine]]:
    """Return a function that opens the graphs."""
    features, blank = recognizer.features, recognizer.model.blank

    def make() -> Engine:
        sessions = (open_session(graphs[name].SerializeToString()) for name in (ENCODER, DECODER))
        return OnnxAsrEngine(*sessions, features, blank)

    return {"onnx-asr": make}


def write_onnx_asr(recognizer: Recognizer, graphs: Graphs, folder: Path, weights: str) -> None:
    """Write the files of the format. The names of graphs with 8 bits end in .int8.onnx."""
    for name, graph in graphs.items():
        name = name.replace(".onnx", ".int8.onnx") if weights == "int8" else name
        write_file(folder / name, graph.SerializeToString())
    write_file(folder / "vocab.txt", tokens_text(token_names(recognizer.tokenizer)))
    features = recognizer.config.features
    about = {
        "model_type": "nemo-conformer-rnnt",
        "features_size": features.mels,
        "subsampling_factor": features.stack * recognizer.model.encoder.stride,
        "max_tokens_per_step": recognizer.config.decoding.max_symbols_per_frame,
    }
    write_json(folder / "config.json", about)


ONNX_ASR = Format("onnx-asr", onnx_asr_graphs, onnx_asr_engines, write_onnx_asr)
