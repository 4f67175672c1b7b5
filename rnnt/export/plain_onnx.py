"""The format `onnx`: graphs from the waveform on, and what a program needs to know to run them.

encoder.onnx         audio (B, N), num_samples (B,) -> encoder (B, T, D), lengths (B,)
decoder_joint.onnx   encoder (B, T, D), symbols (B,), hidden, cell (B, L, H) -> logits (B, T, V), next_hidden, ...
encoder-stream.onnx  a chunk and states -> rows and next states, if the model streams (see `graph.StreamEncoder`)
tokens.txt           the symbols; blank is the last
config.json          the settings that the programs need
alphabet.json        the input symbols of a model that reads symbols; encoder.onnx then takes symbols (B, S)
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rnnt.export.format import Format, Graphs
from rnnt.export.graph import (
    AudioEncoder,
    DecoderJoint,
    StreamEncoder,
    SymbolReader,
    why_no_stream,
)
from rnnt.export.onnx_file import trace
from rnnt.export.runtime import Engine, PlainEngine, StreamEngine, open_session
from rnnt.export.tokens import token_names, tokens_text
from rnnt.files import write_file, write_json
from rnnt.recognizer import Recognizer

ENCODER, DECODER, STREAM = "encoder.onnx", "decoder_joint.onnx", "encoder-stream.onnx"


def describe_model(recognizer: Recognizer) -> dict[str, Any]:
    """Return what a program needs to know to run a model's graphs, for config.json and the graphs' metadata."""
    config, vocabulary = recognizer.config, recognizer.model.vocabulary
    found: dict[str, Any] = {
        "format": "rnnt-onnx",
        "version": 1,
        "input": config.input,
        "vocabulary": vocabulary,
        "blank": vocabulary - 1,
        "tokenizer": recognizer.tokenizer.kind,
        "max_symbols_per_frame": config.decoding.max_symbols_per_frame,
        "max_symbols": config.decoding.max_symbols,
    }
    if config.input == "audio":
        found["sample_rate"] = config.features.sample_rate
        found["frame_seconds"] = recognizer.frame_seconds
        found["stride"] = config.features.stack * recognizer.model.encoder.stride  # feature frames of an encoder frame
        found["normalization"] = config.features.normalization
    return found


def plain_graphs(recognizer: Recognizer) -> dict[str, Any]:
    """Return the graphs, as onnx.ModelProto, by the names of their files."""
    about = describe_model(recognizer)
    frames = {"encoder": {0: "B", 1: "T"}, "lengths": {0: "B"}}
    if recognizer.config.input == "audio":
        rate = recognizer.config.features.sample_rate
        example = torch.randn(2, rate) * 0.1, torch.tensor([rate, rate // 2])
        axes = {"audio": {0: "B", 1: "N"}, "num_samples": {0: "B"}, **frames}
        encoder = trace(AudioEncoder(recognizer), example, ("audio", "num_samples"), tuple(frames), axes, about)
    else:
        example = torch.zeros(2, 5, dtype=torch.int64), torch.tensor([5, 3])
        axes = {"symbols": {0: "B", 1: "S"}, "num_symbols": {0: "B"}, **frames}
        encoder = trace(SymbolReader(recognizer), example, ("symbols", "num_symbols"), tuple(frames), axes, about)
    graphs = {ENCODER: encoder, DECODER: _decoder(recognizer, about)}
    if not why_no_stream(recognizer):
        graphs[STREAM] = _stream(recognizer, about)
    return graphs


def _decoder(recognizer: Recognizer, about: dict[str, Any]) -> Any:
    module = DecoderJoint(recognizer.model, recognizer.config.decoding.blank_penalty)
    lstm = module.lstm
    states = (torch.randn(2, lstm.num_layers, lstm.hidden_size),) * 2
    example = torch.randn(2, 3, recognizer.model.encoder.width), torch.tensor([0, recognizer.model.blank]), *states
    inputs, outputs = ("encoder", "symbols", "hidden", "cell"), ("logits", "next_hidden", "next_cell")
    axes = {name: {0: "B"} for name in (*inputs, *outputs)}
    axes["encoder"] = axes["logits"] = {0: "B", 1: "T"}
    return trace(module, example, inputs, outputs, axes, about)


def _stream(recognizer: Recognizer, about: dict[str, Any]) -> Any:
    module = StreamEncoder(recognizer)
    states = module.start(2)
    names = list(states)
    inputs, outputs = ("audio", "num_samples", *names), ("encoder", "first", "end", *(f"next_{x}" for x in names))
    axes = {name: {0: "B"} for name in (*inputs, *outputs)}
    axes |= {"audio": {0: "B", 1: "N"}, "encoder": {0: "B", 1: "T"}}
    example = torch.randn(2, 4 * module.step) * 0.1, torch.tensor([-1, 3 * module.step]), *states.values()
    about = about | stream_sizes(module)
    return trace(module, example, inputs, outputs, axes, about)


def stream_sizes(module: StreamEncoder) -> dict[str, int]:
    """Return the sizes that a program needs to feed a stream, in samples and rows."""
    return {"step": module.step, "prefix": module.frontend.extra, "late": module.late}


def plain_engines(recognizer: Recognizer, graphs: Graphs) -> dict[str, Callable[[], Engine]]:
    """Return functions that open the graphs for whole utterances and, if the model streams, for chunks."""
    blank = recognizer.model.blank

    def sessions(encoder: str) -> tuple[Any, Any]:
        return tuple(open_session(graphs[name].SerializeToString()) for name in (encoder, DECODER))

    engines: dict[str, Callable[[], Engine]] = {}
    if ENCODER in graphs:
        engines["onnx"] = lambda: PlainEngine(*sessions(ENCODER), blank)
    if STREAM in graphs:
        sizes = stream_sizes(StreamEncoder(recognizer))
        engines["onnx, in chunks"] = lambda: StreamEngine(*sessions(STREAM), blank, **sizes)
    return engines


def write_plain(recognizer: Recognizer, graphs: Graphs, folder: Path, weights: str) -> None:
    """Write the files of the format. weights: float32, float16 or int8."""
    for name, graph in graphs.items():
        write_file(folder / name, graph.SerializeToString())
    about = describe_model(recognizer) | {"weights": weights}
    if STREAM in graphs:
        about["stream"] = stream_sizes(StreamEncoder(recognizer))
    if recognizer.alphabet is not None:
        recognizer.alphabet.save(folder)
    write_file(folder / "tokens.txt", tokens_text(token_names(recognizer.tokenizer)))
    write_json(folder / "config.json", about)


PLAIN = Format("onnx", plain_graphs, plain_engines, write_plain)
