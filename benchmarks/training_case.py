"""What training is measured on: a prepared split of noise with wanted lengths and tokens, and the work that it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from loss_inputs import case

from rnnt.config import Config, LstmConfig
from rnnt.dataset import write_split
from rnnt.shard import StoredUtterance
from rnnt.tokenizer import Symbols

ENCODER_FRAME_SECONDS = 0.06  # of the cases in loss_inputs
LETTERS, LETTERS_PER_SECOND = 28, 15  # of English text read aloud, for presets whose symbols are characters
DISTINCT = 1024  # utterances on the disk at most, 400 MB; more are the same ones again


@dataclass(frozen=True)
class Size:
    """An utterance's seconds of audio and its tokens."""

    seconds: float
    tokens: int


def librispeech_sizes(count: int, config: Config, seed: int) -> list[Size]:
    """Up to `count` utterances of train-clean-100 that the configuration admits, drawn with a seed.

    Raises ValueError where the file of lengths is absent.
    """
    sizes = [Size(frames * ENCODER_FRAME_SECONDS, tokens) for frames, tokens in case("mlperf", count, seed).lengths]
    if config.tokenizer.kind != "sentencepiece":
        sizes = [Size(size.seconds, round(LETTERS_PER_SECOND * size.seconds)) for size in sizes]
    return [size for size in sizes if config.data.min_seconds <= size.seconds <= config.data.max_seconds]


def symbols(config: Config) -> Symbols:
    """A tokenizer of as many symbols as the preset's, each a word, so that a text has as many tokens as wanted."""
    count = config.tokenizer.size if config.tokenizer.kind == "sentencepiece" else LETTERS
    return Symbols("words", [f"w{i}" for i in range(count)])


def make_split(folder: Path, sizes: Sequence[Size], sample_rate: int, tokenizer: Symbols) -> None:
    """A prepared split of noise, loud and soft by turns as speech is, with random texts."""
    rng = np.random.default_rng(0)
    longest = round(max(size.seconds for size in sizes) * sample_rate)
    loudness = 10 ** rng.uniform(-2.5, 0, longest // 800 + 2)  # one in 0.1 s at 16 kHz
    loudness = np.interp(np.arange(2 * longest) / 1600, np.arange(len(loudness)), loudness)
    noise = np.clip(rng.standard_normal(2 * longest) * 7000 * loudness, -32768, 32767).astype(np.int16)

    def utterances() -> Iterator[StoredUtterance]:
        for number, size in enumerate(sizes):
            start = rng.integers(longest)
            samples = noise[start : start + round(size.seconds * sample_rate)]
            text = " ".join(rng.choice(tokenizer.symbols, size.tokens))
            yield StoredUtterance(f"u{number:05d}", samples, text, "nobody")

    write_split(folder, utterances(), sample_rate, source="made up")


def model_flops(config: Config, vocabulary: int, seconds: float, tokens: int) -> float:
    """Floating-point operations of one utterance's training: 2 a multiplication of the matrix products, forward, x 3.

    Counted over its own frames and tokens, so that padding, recomputation and nodes left out do not count as more or
    less work: LSTM 2 x 4H x (inputs + H) a frame, layer and direction; Linear 2 x inputs x outputs. Two products of the
    same size go backward, to the inputs and to the weights. `vocabulary` includes blank.
    """
    features, encoder, predictor, joint = (
        config.features,
        config.model.encoder.lstm,
        config.model.predictor,
        config.model.joint,
    )
    frames = seconds * features.sample_rate / features.hop / features.stack
    out, rows = frames / encoder.time_stack, tokens + 1
    width = encoder.hidden * (2 if encoder.bidirectional else 1)
    forward = frames * _lstm_flops(features.mels * features.stack, encoder, encoder.pre_layers)
    forward += out * _lstm_flops(width * encoder.time_stack, encoder, encoder.post_layers)
    for layer in range(predictor.layers):
        inputs = predictor.hidden if layer else predictor.embedding
        forward += rows * 8 * predictor.hidden * (inputs + predictor.hidden)
    forward += 2 * joint.hidden * (out * width + rows * predictor.hidden + out * rows * vocabulary)
    return 3 * forward


def _lstm_flops(inputs: int, encoder: LstmConfig, layers: int) -> int:
    """Of one frame through a stack of layers."""
    directions = 2 if encoder.bidirectional else 1
    widths = [inputs, *[directions * encoder.hidden] * (layers - 1)]
    return sum(directions * 8 * encoder.hidden * (width + encoder.hidden) for width in widths)
