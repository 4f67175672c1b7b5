"""Graphs with the inputs and outputs of NeMo's exports, which sherpa-onnx and onnx-asr run.

They compute the features; the graphs begin after the logarithm. Their encoders have frames (B, D, T), time last.

B utterances, F mel bins, S feature frames, T encoder frames, D widths, L layers, H width of the predictor, V symbols.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from rnnt.export.graph import Embedding, blank_bias, run_forward
from rnnt.export.onnx_file import trace
from rnnt.features import Features
from rnnt.features_presets import preset_differences
from rnnt.recognizer import Recognizer


def require_features(recognizer: Recognizer, preset: str, program: str, free: tuple[str, ...]) -> None:
    """Raise ValueError that names the settings in which a model's features differ from a program's.

    free: settings that may differ.
    """
    if recognizer.config.input != "audio":
        raise ValueError(f"{program} runs models of audio, and this one reads symbols; give --format onnx")
    differences = preset_differences(recognizer.config.features, preset, free)
    if differences:
        changes = " ".join(f"{name}={_written(value)}" for name, value in differences.items())
        raise ValueError(
            f"{program} computes other features than this model hears; train one with features={preset} "
            f"(here {changes}), or give --format onnx, which has the features in its graph"
        )


class FeatureEncoder(nn.Module):
    """Log-mel powers (B, F, S) and their lengths (B,) -> encoder frames (B, D, T) and their lengths.

    normalized: the program normalizes the powers. Otherwise the graph does, as the setting says.
    """

    def __init__(self, recognizer: Recognizer, normalized: bool):
        super().__init__()
        self.features: Features = recognizer.features
        self.encoder, self.normalized = recognizer.model.encoder, normalized

    def forward(self, mel_BFS: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode whole utterances."""
        x_BSF = mel_BFS.transpose(1, 2)
        if not self.normalized:
            x_BSF = self.features.normalize(x_BSF, lengths)
        encoder_BTD, lengths = self.encoder(*self.features.stack(x_BSF, lengths))
        return encoder_BTD.transpose(1, 2), lengths


class NemoDecoder(nn.Module):
    """The last symbol (B, 1) and states (L, B, H) -> the predictor's output (B, H, 1), and the states after it."""

    def __init__(self, recognizer: Recognizer):
        super().__init__()
        self.embedding, self.lstm = Embedding(recognizer.model), recognizer.model.predictor.lstm

    def forward(
        self, targets: torch.Tensor, length: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the output, its length as it was given, and the states."""
        states = hidden.transpose(0, 1), cell.transpose(0, 1)
        output_B1H, after = run_forward(self.lstm, self.embedding(targets.long()), states)
        return output_B1H.transpose(1, 2), length + 0, *(x.transpose(0, 1) for x in after)


class NemoJoiner(nn.Module):
    """Encoder frames (B, D, T) and predictor outputs (B, H, U) -> logits (B, T, U, V)."""

    def __init__(self, recognizer: Recognizer):
        super().__init__()
        self.joint = recognizer.model.joint
        penalty = recognizer.config.decoding.blank_penalty
        self.register_buffer("blank_bias", blank_bias(recognizer.model.vocabulary, penalty))

    def forward(self, encoder_BDT: torch.Tensor, predictor_BHU: torch.Tensor) -> torch.Tensor:
        """Return the logits of all pairs."""
        encoder_BT1H = self.joint.project_encoder(encoder_BDT.transpose(1, 2))[:, :, None]
        predictor_B1UH = self.joint.project_predictor(predictor_BHU.transpose(1, 2))[:, None]
        return self.joint(encoder_BT1H, predictor_B1UH) + self.blank_bias


class NemoDecoderJoint(nn.Module):
    """The decoder and the joiner as one graph."""

    def __init__(self, recognizer: Recognizer):
        super().__init__()
        self.decoder, self.joiner = NemoDecoder(recognizer), NemoJoiner(recognizer)
        self.register_buffer("blank_bias", self.joiner.blank_bias)

    def forward(
        self,
        encoder_BDT: torch.Tensor,
        targets: torch.Tensor,
        length: torch.Tensor,
        hidden: torch.Tensor,
        cell: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Return the logits (B, T, 1, V), the length as it was given, and the states."""
        output, length, *after = self.decoder(targets, length, hidden, cell)
        return self.joiner(encoder_BDT, output), length, *after


def trace_encoder(
    recognizer: Recognizer, normalized: bool, names: tuple[str, str, str, str], about: dict[str, object]
) -> Any:
    """Return the graph of `FeatureEncoder`. names: of its inputs and outputs."""
    mels = recognizer.config.features.mels
    example = torch.randn(2, mels, 100), torch.tensor([100, 61])
    axes = {names[0]: {0: "B", 2: "S"}, names[1]: {0: "B"}, names[2]: {0: "B", 2: "T"}, names[3]: {0: "B"}}
    return trace(FeatureEncoder(recognizer, normalized), example, names[:2], names[2:], axes, about)


def decoder_example(recognizer: Recognizer) -> tuple[torch.Tensor, ...]:
    """Return inputs of `NemoDecoder`: the first symbol of one utterance."""
    lstm = recognizer.model.predictor.lstm
    states = (torch.zeros(lstm.num_layers, 1, lstm.hidden_size),) * 2
    first = torch.full((1, 1), recognizer.model.blank, dtype=torch.int32)
    return first, torch.ones(1, dtype=torch.int32), *states


def log_mel(features: Features, samples: np.ndarray, normalized: bool) -> np.ndarray:
    """Return the log-mel powers (1, F, S) of samples in [-1, 1], as the program computes them."""
    audio, length = torch.from_numpy(samples.astype(np.float32))[None], torch.tensor([len(samples)])
    with torch.inference_mode():
        x_BSF, frames = features.values(audio, length)
        if normalized:
            x_BSF = features.normalize(x_BSF, frames)
    return x_BSF.transpose(1, 2).numpy()


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
