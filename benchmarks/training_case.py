"""Data for the benchmark of training: a split of noise with given lengths, and the number of operations it takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from loss_inputs import case

from rnnt.config import Config
from rnnt.dataset import write_split
from rnnt.model_config import LstmConfig
from rnnt.shard import StoredUtterance
from rnnt.tokenizer import Symbols

ENCODER_FRAME_SECONDS = 0.06  # length of a frame in the cases of loss_inputs
LETTERS, LETTERS_PER_SECOND = 28, 15  # English text read aloud, for presets whose symbols are characters
DISTINCT = 1024  # maximum number of utterances on the disk, 400 MB; a benchmark that needs more repeats them


@dataclass(frozen=True)
class Lengths:
    """The lengths of one utterance: seconds of audio, and number of tokens."""

    seconds: float
    tokens: int


def librispeech_lengths(count: int, config: Config, seed: int) -> list[Lengths]:
    """Draw `count` utterances of train-clean-100 with a seed, and return the lengths of those that `config` admits.

    Raises ValueError if the file of LibriSpeech's lengths is missing.
    """
    drawn = [Lengths(frames * ENCODER_FRAME_SECONDS, tokens) for frames, tokens in case("mlperf", count, seed).lengths]
    if config.tokenizer.kind != "sentencepiece":
        drawn = [Lengths(x.seconds, round(LETTERS_PER_SECOND * x.seconds)) for x in drawn]
    return [x for x in drawn if config.data.min_seconds <= x.seconds <= config.data.max_seconds]


def symbols(config: Config) -> Symbols:
    """Return a tokenizer with as many symbols as the preset's.

    Each symbol is a word, so a text of n words has n tokens.
    """
    count = config.tokenizer.size if config.tokenizer.kind == "sentencepiece" else LETTERS
    return Symbols("words", [f"w{i}" for i in range(count)])


def make_split(folder: Path, lengths: Sequence[Lengths], sample_rate: int, tokenizer: Symbols) -> None:
    """Write a split with an utterance for each of `lengths`: noise whose loudness varies like speech, random texts."""
    rng = np.random.default_rng(0)
    longest = round(max(x.seconds for x in lengths) * sample_rate)
    loudness = 10 ** rng.uniform(-2.5, 0, longest // 800 + 2)  # a new value every 1600 samples
    loudness = np.interp(np.arange(2 * longest) / 1600, np.arange(len(loudness)), loudness)
    noise = np.clip(rng.standard_normal(2 * longest) * 7000 * loudness, -32768, 32767).astype(np.int16)

    def utterances() -> Iterator[StoredUtterance]:
        for number, x in enumerate(lengths):
            start = rng.integers(longest)
            samples = noise[start : start + round(x.seconds * sample_rate)]
            text = " ".join(rng.choice(tokenizer.symbols, x.tokens))
            yield StoredUtterance(f"u{number:05d}", samples, text, "nobody")

    write_split(folder, utterances(), sample_rate, source="made up")


def model_flops(config: Config, vocabulary: int, seconds: float, tokens: int) -> float:
    """Return the floating-point operations that a training step spends on one utterance.

    seconds, tokens: the utterance's lengths; vocabulary: number of symbols with blank.

    Only matrix products count, with 2 operations for each multiplication. Forward: an LSTM layer takes
    2 x 4H x (inputs + H) for each frame and direction, and a Linear layer 2 x inputs x outputs. Backward, each product
    becomes two of the same size, for the gradients of inputs and weights; so the total is 3 times the forward pass.
    The utterance's own frames, tokens and nodes count. So the result does not depend on padding, recomputation and
    nodes that the loss leaves out.
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
    forward = frames * _lstm_flops(features.values * features.stack, encoder, encoder.pre_layers)
    forward += out * _lstm_flops(width * encoder.time_stack, encoder, encoder.post_layers)
    for layer in range(predictor.layers):
        inputs = predictor.hidden if layer else predictor.embedding
        forward += rows * 8 * predictor.hidden * (inputs + predictor.hidden)
    additive = joint.kind == "additive"
    forward += 2 * (vocabulary if additive else joint.hidden) * (out * width + rows * predictor.hidden)
    if not additive:
        forward += 2 * joint.hidden * out * rows * vocabulary
    return 3 * forward


def _lstm_flops(inputs: int, encoder: LstmConfig, layers: int) -> int:
    """Forward operations of a stack of layers, for one frame."""
    directions = 2 if encoder.bidirectional else 1
    widths = [inputs, *[directions * encoder.hidden] * (layers - 1)]
    return sum(directions * 8 * encoder.hidden * (width + encoder.hidden) for width in widths)
