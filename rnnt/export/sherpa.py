"""The format `sherpa`: a folder that sherpa-onnx opens as one of NeMo's transducers.

    encoder.onnx, decoder.onnx, joiner.onnx, tokens.txt
    bpe.vocab     pieces and scores, which its hot words need, if the tokenizer is of SentencePiece
    README.md     the commands

Its recognizers of recordings and of streams compute different features. So a model is for one of them: that whose
features it was trained with, `sherpa-offline` (the recognizer `nemo_transducer`) or `sherpa-online`. The graphs
normalize the features themselves, as the model's setting says. A stream's cache_last_channel holds the states of the
LSTM layers, (B, layers, 2, width). The other caches are not used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rnnt.export.format import Format, Graphs
from rnnt.export.graph import run_forward, why_no_stream
from rnnt.export.nemo_graphs import NemoDecoder, NemoJoiner, decoder_example, log_mel, require_features, trace_encoder
from rnnt.export.onnx_file import trace
from rnnt.export.runtime import Engine, State, open_session
from rnnt.export.sherpa_readme import readme
from rnnt.export.tokens import token_names, tokens_text
from rnnt.features import Features
from rnnt.features_presets import preset_differences
from rnnt.files import write_file
from rnnt.recognizer import Recognizer
from rnnt.tokenizer import SentencePiece

ENCODER, DECODER, JOINER = "encoder.onnx", "decoder.onnx", "joiner.onnx"
CHUNK_ROWS = 4  # encoder frames of a chunk of a stream
_FREE = ("mels", "dither", "normalization")


class CachedEncoder(nn.Module):
    """A chunk of a stream with NeMo's caches: log-mel powers (B, F, S), of which all places are valid.

    S is CHUNK_ROWS encoder frames, so each chunk gives as many. An encoder that looks ahead gives zeros at first.
    """

    def __init__(self, recognizer: Recognizer):
        super().__init__()
        self.features: Features = recognizer.features
        self.encoder = recognizer.model.encoder
        self.stacks = [stack for stack in (self.encoder.pre, self.encoder.post) if stack.lstm is not None]
        self.layers = [stack.lstm.num_layers for stack in self.stacks]

    def forward(
        self,
        mel_BFS: torch.Tensor,
        length: torch.Tensor,
        channel: torch.Tensor,
        time: torch.Tensor,
        channel_length: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Return the encoder frames (B, D, T), their number (B,) and the new caches."""
        frames = torch.ones_like(length) * mel_BFS.shape[2]
        x_BTF, _ = self.features.stack(self.features.normalize(mel_BFS.transpose(1, 2), frames), frames)
        states, first = [], 0
        for stack in (self.encoder.pre, self.encoder.post):
            if stack is self.encoder.post:
                x_BTF = x_BTF.reshape(x_BTF.shape[0], -1, x_BTF.shape[2] * self.encoder.stride)
            if stack.lstm is not None:
                own = channel[:, first : first + stack.lstm.num_layers]
                first += stack.lstm.num_layers
                x_BTF, after = run_forward(stack.lstm, x_BTF, (own[:, :, 0], own[:, :, 1]))
                states.append(torch.stack(after, 2))
        rows = torch.ones_like(length) * x_BTF.shape[1]
        return x_BTF.transpose(1, 2), rows, torch.cat(states, 1), time + 0, channel_length + 0


def sherpa_graphs(recognizer: Recognizer) -> dict[str, Any]:
    """Return the graphs. Raises ValueError if sherpa-onnx computes other features than the model hears."""
    features, model = recognizer.config.features, recognizer.model
    streams = is_for_streams(recognizer)
    if not streams:
        require_features(recognizer, "sherpa-offline", "sherpa-onnx", _FREE)
    if features.dither > 1e-4:
        raise ValueError(f"features.dither is {features.dither:g}; sherpa-onnx adds none: train with features.dither=0")
    about: dict[str, object] = {
        "vocab_size": model.vocabulary - 1,
        "subsampling_factor": features.stack * model.encoder.stride,
        "normalize_type": "",
        "pred_rnn_layers": model.predictor.lstm.num_layers,
        "pred_hidden": model.predictor.lstm.hidden_size,
        "feat_dim": features.mels,
    }
    if not streams:
        names = ("audio_signal", "length", "outputs", "encoded_lengths")
        about["model_type"] = "EncDecRNNTBPEModel"
        return {ENCODER: trace_encoder(recognizer, False, names, about)} | _decoders(recognizer)
    if model.encoder.lookahead:
        raise ValueError(
            "model.encoder.lstm.lookahead is not 0; sherpa-onnx's streams have no way to catch up at their end: train "
            "with lookahead=0, or give --format onnx"
        )
    return {ENCODER: _stream(recognizer, about)} | _decoders(recognizer)


def is_for_streams(recognizer: Recognizer) -> bool:
    """Return whether a model is for sherpa-onnx's online recognizer: it streams and hears that one's features."""
    if recognizer.config.input != "audio" or why_no_stream(recognizer):
        return False
    return not preset_differences(recognizer.config.features, "sherpa-online", _FREE)


def _decoders(recognizer: Recognizer) -> dict[str, Any]:
    model = recognizer.model
    inputs = ("targets", "target_length", "states.1", "states.2")
    outputs = ("outputs", "prednet_lengths", "next_states.1", "next_states.2")
    axes = {name: {1: "B"} for name in (*inputs[2:], *outputs[2:])}
    axes |= {"targets": {0: "B"}, "target_length": {0: "B"}, "outputs": {0: "B"}, "prednet_lengths": {0: "B"}}
    decoder = trace(NemoDecoder(recognizer), decoder_example(recognizer), inputs, outputs, axes, {})
    example = torch.randn(1, model.encoder.width, 1), torch.randn(1, model.predictor.width, 1)
    axes = {
        "encoder_outputs": {0: "B", 2: "T"},
        "decoder_outputs": {0: "B", 2: "U"},
        "outputs": {0: "B", 1: "T", 2: "U"},
    }
    joiner = trace(NemoJoiner(recognizer), example, ("encoder_outputs", "decoder_outputs"), ("outputs",), axes, {})
    return {DECODER: decoder, JOINER: joiner}


def _stream(recognizer: Recognizer, about: dict[str, object]) -> Any:
    module = CachedEncoder(recognizer)
    config, encoder = recognizer.config.features, recognizer.model.encoder
    chunk = CHUNK_ROWS * config.stack * encoder.stride
    channel = (sum(module.layers), 2, module.stacks[0].lstm.hidden_size)
    sizes = {"window_size": chunk, "chunk_shift": chunk}
    for name, shape in (("channel", channel), ("time", (1, 1, 1))):
        sizes |= {f"cache_last_{name}_dim{place}": size for place, size in enumerate(shape, 1)}
    example = (
        torch.randn(1, config.mels, chunk),
        torch.full((1,), chunk),
        torch.zeros(1, *channel),
        torch.zeros(1, 1, 1, 1),
        torch.zeros(1, dtype=torch.int64),
    )
    caches = ("cache_last_channel", "cache_last_time", "cache_last_channel_len")
    inputs = ("audio_signal", "length", *caches)
    outputs = ("outputs", "encoded_lengths", *(f"{name}_next" for name in caches))
    axes = {name: {0: "B"} for name in (*inputs, *outputs)}
    axes |= {"audio_signal": {0: "B", 2: "S"}, "outputs": {0: "B", 2: "T"}}
    return trace(module, example, inputs, outputs, axes, about | sizes)


class SherpaEngine:
    """The graphs as sherpa-onnx runs them, with the features of torch, which equal its own."""

    def __init__(self, encoder: Any, decoder: Any, joiner: Any, features: Features, blank: int):
        self._encoder, self._decoder, self._joiner = encoder, decoder, joiner
        self._features, self._blank = features, blank
        shapes = [x.shape for x in decoder.get_inputs()[2:]]
        self._states = [np.zeros((shape[0], 1, shape[2]), np.float32) for shape in shapes]

    def encode(self, given: np.ndarray) -> np.ndarray:
        """Encode one utterance."""
        mel = log_mel(self._features, given, False)
        (frames_DT,), (length,) = self._encode(mel)[:2]
        return frames_DT[:, :length].T

    def start(self) -> State:
        """Return the predictor's output for blank, and the states after it."""
        return self._advance(self._blank, self._states)

    def logits(self, frames_TD: np.ndarray, state: State) -> tuple[np.ndarray, Callable[[int], State]]:
        """Return the logits (T, V)."""
        output, states = state
        (logits,) = self._joiner.run(None, {"encoder_outputs": frames_TD.T[None], "decoder_outputs": output})
        return logits[0, :, 0], lambda following: self._advance(following, states)

    def _encode(self, mel: np.ndarray) -> list[np.ndarray]:
        return self._encoder.run(None, {"audio_signal": mel, "length": np.array([mel.shape[2]])})

    def _advance(self, symbol: int, states: list[np.ndarray]) -> State:
        given = np.array([[symbol]], np.int32), np.ones(1, np.int32), *states
        output, _, *after = self._decoder.run(None, dict(zip((x.name for x in self._decoder.get_inputs()), given)))
        return output, after


class SherpaStreamEngine(SherpaEngine):
    """The graphs of streams: utterances are padded with silence to whole chunks, and encoded chunk by chunk."""

    def _encode(self, mel: np.ndarray) -> list[np.ndarray]:
        chunk = int(self._encoder.get_modelmeta().custom_metadata_map["window_size"])
        stride, silence = chunk // CHUNK_ROWS, float(np.log(self._features.config.log_floor))
        caches = {x.name: [d if isinstance(d, int) else 1 for d in x.shape] for x in self._encoder.get_inputs()[2:]}
        state = [np.zeros(shape, np.int64 if name.endswith("len") else np.float32) for name, shape in caches.items()]
        rows = []
        for start in range(0, mel.shape[2], chunk):
            part = mel[:, :, start : start + chunk]
            part = np.pad(part, ((0, 0), (0, 0), (0, chunk - part.shape[2])), constant_values=silence)
            given = {"audio_signal": part, "length": np.array([chunk])}
            frames, _, *state = self._encoder.run(None, given | dict(zip(caches, state)))
            rows.append(frames)
        return [np.concatenate(rows, 2), np.array([-(-mel.shape[2] // stride)])]


def sherpa_engines(recognizer: Recognizer, graphs: Graphs) -> dict[str, Callable[[], Engine]]:
    """Return a function that opens the graphs."""
    kind = SherpaStreamEngine if is_for_streams(recognizer) else SherpaEngine

    def make() -> Engine:
        sessions = [open_session(graphs[name].SerializeToString()) for name in (ENCODER, DECODER, JOINER)]
        return kind(*sessions, recognizer.features, recognizer.model.blank)

    return {"sherpa": make}


def write_sherpa(recognizer: Recognizer, graphs: Graphs, folder: Path, weights: str) -> None:
    """Write the files of the format. The names of graphs with 8 bits end in .int8.onnx."""
    end = ".int8.onnx" if weights == "int8" else ".onnx"
    for name, graph in graphs.items():
        write_file(folder / name.replace(".onnx", end), graph.SerializeToString())
    write_file(folder / "tokens.txt", tokens_text(token_names(recognizer.tokenizer)))
    if isinstance(recognizer.tokenizer, SentencePiece):
        write_file(folder / "bpe.vocab", _pieces(recognizer.tokenizer))
    write_file(folder / "README.md", readme(is_for_streams(recognizer), end, recognizer.config.features.mels))


def _pieces(tokenizer: SentencePiece) -> str:
    """Return the pieces and their scores as SentencePiece's own .vocab file has them."""
    return "".join(f"{piece}\t{score:g}\n" for piece, score in tokenizer.scores)


SHERPA = Format("sherpa", sherpa_graphs, sherpa_engines, write_sherpa)
