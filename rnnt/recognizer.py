"""A trained model with all that it needs to turn audio, or symbols, into text: features, networks and tokenizer."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import nn

from rnnt.alphabet import Alphabet, load_alphabet
from rnnt.calibration import FILE as CALIBRATION
from rnnt.calibration import Calibration, read_calibration
from rnnt.config import Config
from rnnt.decoding import Hypothesis, Scorer
from rnnt.decoding.decoder import Decoder, configured_decoder
from rnnt.decoding.fusion import fuse, make_fusion
from rnnt.decoding.hotwords import hot_words
from rnnt.device import autocast, find_device, float32_products
from rnnt.evaluation import evaluate
from rnnt.live import open_stream
from rnnt.loader import Batch
from rnnt.model import Ensemble, Transducer
from rnnt.model.symbols import SymbolEmbedding
from rnnt.model_folder import find_models, read_config, read_weights, write_model
from rnnt.ngram.bigram import BIGRAM
from rnnt.settings import choose_decoding
from rnnt.shapes import shapes_only
from rnnt.symbol_alignment import align_symbols
from rnnt.symbol_input import make_input
from rnnt.text_alignment import align_text
from rnnt.tokenizer import Tokenizer, load_tokenizer
from rnnt.transcription import transcribe, transcribe_files
from rnnt.transduction import transduce

_OTHER_INPUT = {  # by the input that the model does read
    "audio": "this model reads audio, not symbols; give it recordings",
    "symbols": "this model reads symbols, such as the letters of words, not audio; give it text: "
    "--text WORD, or model.transduce",
}
_WHOLE_SECONDS = 40  # the longest recording that decoding.max_symbols is meant for; all of LibriSpeech is shorter
_WHOLE_SYMBOLS = 100  # the same for symbols: few words are longer


class Recognizer(nn.Module):
    """Features, model and tokenizer. `config` is that of the run that made them. `scorers` by name steer its decoding.

    `bigram` is the file with the bigram model of the training texts, or None. alphabet: of a model that reads symbols.

    Its parts can be used one by one:

    >>> import numpy as np
    >>> from rnnt.loader import collate
    >>> recognizer = load("runs/mine")
    >>> batch = collate([np.zeros(8000, np.int16)], targets=[[]], ids=["a second of silence"])
    >>> with recognizer.inference():
    ...     encoder_BTD, lengths = recognizer.encode(batch)
    >>> encoder_BTD.shape, lengths
    (torch.Size([1, 25, 32]), tensor([25]))
    """

    def __init__(self, config: Config, tokenizer: Tokenizer, alphabet: Alphabet | None = None):
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.alphabet = alphabet
        self.features = make_input(config)
        embedding = None if alphabet is None else SymbolEmbedding(len(alphabet), config.symbols)
        self.model = Transducer(self.features.width, len(tokenizer) + 1, config.model, embedding)
        self.calibration = Calibration()
        self.scorers: dict[str, Scorer] = {}
        self.bigram: Path | None = None

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return next(self.model.parameters()).device

    @property
    def frame_seconds(self) -> float:
        """Seconds from one encoder frame to the next; 0 if the model reads symbols."""
        return self.features.frame_seconds * self.model.encoder.stride

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Run without gradients, in the configured precision. All calls of `encode` and `decode` belong inside.

        Raises ValueError in training mode: dropout would change the results.
        """
        if self.training:
            raise ValueError("the model is in training mode, in which dropout changes its results; call model.eval()")
        precision = self.config.precision, self.device
        with torch.inference_mode(), float32_products(*precision), autocast(*precision):
            yield

    def numbers(self, given: np.ndarray | Sequence[str]) -> np.ndarray:
        """Return one input as `collate` takes it: samples (N,) as they are, symbols as their numbers (S,)."""
        return given if self.alphabet is None else self.alphabet.encode(given)

    def require_input(self, kind: str) -> None:
        """Raise ValueError if the model reads another kind of input, "audio" or "symbols"."""
        if kind != self.config.input:
            raise ValueError(_OTHER_INPUT[self.config.input])

    def encode(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the encoder's frames (B, T, D) and their lengths (B,)."""
        return self.listen(batch)[1:]

    def listen(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the stacked features (B, T, F), and the encoder's frames (B, T, D) and their lengths (B,).

        In place of features a model that reads symbols has their numbers (B, S).
        """
        features_BTF, lengths = self.features(batch.inputs, batch.input_lengths)
        return features_BTF, *self.model.encoder(features_BTF, lengths)

    def decode(self, batch: Batch, encoder_BTD: torch.Tensor, lengths: torch.Tensor) -> list[Hypothesis]:
        """Search for the symbols of each utterance of the batch, given its encoder frames. Return the best found."""
        decoder = configured_decoder(self.config.decoding, self.scorers)
        return [best for best, *_ in self.search(batch, encoder_BTD, lengths, decoder)]

    def search(
        self, batch: Batch, encoder_BTD: torch.Tensor, lengths: torch.Tensor, decoder: Decoder
    ) -> list[list[Hypothesis]]:
        """Decode the batch with another decoder than the configured one. Return its hypotheses, best first."""
        return decoder.search(self.model, encoder_BTD, lengths, self.symbol_limits(batch.input_lengths))

    def symbol_limits(self, input_lengths: torch.Tensor) -> torch.Tensor:
        """Return the most symbols of each utterance (B,).

        `decoding.max_symbols` applies to recordings of up to 40 s and grows in proportion beyond that, so a long
        recording is not truncated for its length alone. Input symbols are counted as hundredths of a second.
        """
        whole = _WHOLE_SECONDS * (self.config.features.sample_rate if self.alphabet is None else 100)
        return torch.ceil(self.config.decoding.max_symbols * (input_lengths / whole).clamp(min=1)).long()

    align = align_text
    align_symbols = align_symbols
    transcribe = transcribe
    transcribe_files = transcribe_files
    transduce = transduce
    stream = open_stream
    evaluate = evaluate

    def save(self, folder: Path) -> None:
        """Write the model's folder, which `load` opens.

        Raises OSError (a full disk, for example), after which the weights that were there before are still there.
        """
        own = self.config, self.tokenizer, self.state_dict(), self.calibration, self.bigram, self.alphabet
        write_model(folder, *own)


class EnsembleRecognizer(Recognizer):
    """Several models of one vocabulary that decode together, by the mean of their probabilities at each lattice node.

    Each member computes its features by its own settings. Everything else is taken from the first member: the other
    settings, the tokenizer, the bigram model, and the calibration of word times and confidences. `Ensemble` does the
    averaging.

    names: of the members in error messages. Raises ValueError if members do not fit together.
    """

    def __init__(self, members: Sequence[Recognizer], names: Sequence[str | Path]):
        first, *others = members
        for member, name in zip(members, names, strict=True):
            if member.model.joint.durations:
                raise ValueError(f"{name} is a token-and-duration model, which can only decode alone; leave it out")
        for other, name in zip(others, names[1:], strict=True):
            if problem := _difference(first, other):
                raise ValueError(f"{name} and {names[0]} cannot decode together: {problem}")
        with shapes_only():  # its own features and model are replaced at once
            super().__init__(first.config, first.tokenizer, first.alphabet)
        self.members = nn.ModuleList(members)
        self.features = first.features
        self.model = Ensemble([member.model for member in members])
        self.calibration, self.bigram = first.calibration, first.bigram

    @property
    def frame_seconds(self) -> float:
        """Seconds from one encoder frame to the next; 0 if the models read symbols."""
        return self.members[0].frame_seconds

    def listen(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the first member's features (B, T, F), and those of all encoders (B, T, D) with lengths (B,)."""
        heard = [member.listen(batch) for member in self.members]
        features_BTF, _, lengths = heard[0]
        return features_BTF, torch.cat([encoder_BTD for _, encoder_BTD, _ in heard], -1), lengths

    def stream(self, *_: object, **__: object) -> NoReturn:
        """Raise ValueError: streams carry the state of one encoder."""
        raise ValueError("several models cannot transcribe a stream together; load one of them alone")

    def save(self, folder: Path) -> None:
        """Raise ValueError: an ensemble has no folder, because each member has one."""
        raise ValueError("an ensemble cannot be saved as a model; save its members one by one")


def _difference(first: Recognizer, other: Recognizer) -> str:
    """Say in which respect two models do not fit together; empty if they do."""
    vocabularies = [(one.tokenizer.kind, list(one.tokenizer.symbols)) for one in (first, other)]
    if vocabularies[0] != vocabularies[1]:
        return "their tokenizers differ; take models that were trained with the same tokenizer"
    if other.config.input != first.config.input:
        return "one reads audio and the other symbols; take models of one input"
    if first.alphabet is not None:
        return _difference_of_symbols(first, other)
    ours, theirs = other.config.features, first.config.features
    if ours.sample_rate != theirs.sample_rate:
        return f"they hear {ours.sample_rate} and {theirs.sample_rate} Hz; take models of one sample rate"
    if ours.trim_silence != theirs.trim_silence:
        return "only one has features.trim_silence=true; take models that agree in this"
    if not math.isclose(first.frame_seconds, other.frame_seconds):
        steps = " and ".join(f"{1000 * one.frame_seconds:g}" for one in (other, first))
        return f"their encoder frames are {steps} ms apart; take models with the same distance"
    return ""


def _difference_of_symbols(first: Recognizer, other: Recognizer) -> str:
    alphabets = [(one.alphabet.unicode, one.alphabet.symbols) for one in (first, other)]
    if alphabets[0] != alphabets[1]:
        return "their input symbols differ; take models of the same training data and symbols.unicode"
    strides = [one.model.encoder.stride for one in (other, first)]
    if strides[0] != strides[1]:
        return f"their encoder frames are {strides[0]} and {strides[1]} symbols apart; take models that agree in this"
    return ""


def load(
    path: str | Path | Iterable[str | Path],
    device: str = "cpu",
    decoding: str | None = None,
    hotwords: str | Path | Iterable[str] | None = None,
    lm: str | Path | None = None,
    lm_weight: float | None = None,
    lodr_weight: float | None = None,
    ilm_weight: float | None = None,
) -> Recognizer:
    """Open a model's folder, or the best model of a run. Several paths give an ensemble (see `EnsembleRecognizer`).

    device: "cpu", "cuda", "cuda:1", ... or "auto", which takes a GPU if there is one. decoding: "greedy", "beam", or
    "beam:8" for a beam of 8, in place of the model's own setting. hotwords: phrases to favour, or a file of them (see
    `hot_words`). lm: an ARPA file over the model's symbols or over words, and lm_weight, lodr_weight, ilm_weight: the
    weights with which it and the model's own language models count (see `Fusion`). The model is in evaluation mode, and
    may be used from several threads at once. The folder may come from a stranger: no file outside it is read, and no
    code in it is run. Raises ValueError if there is no model, it is damaged, its symbols cannot spell a hot word or the
    language model, or models do not fit together.

    >>> model = load("runs/mine")
    >>> [transcript.text for transcript in model.transcribe(["recording.wav"])]
    ['mid high']
    """
    where, fusion = find_device(device), make_fusion(lm, lm_weight, lodr_weight, ilm_weight)
    folders = find_models(path)
    members = [_open_member(folder, decoding) for folder in folders]
    recognizer = members[0] if len(members) == 1 else EnsembleRecognizer(members, folders)
    if fusion is not None:
        recognizer.scorers["lm"] = fuse(fusion, folders[0], recognizer.tokenizer, recognizer.model, where)
    if hotwords is not None:
        recognizer.scorers["hotwords"] = hot_words(hotwords, recognizer.tokenizer, where)
    return recognizer.to(where).eval()


def _open_member(folder: Path, decoding: str | None) -> Recognizer:
    config = read_config(folder / "config.yaml")
    if decoding is not None:
        config = replace(config, decoding=choose_decoding(decoding, config.decoding))
    tokenizer = load_tokenizer(folder, config.tokenizer)
    alphabet = load_alphabet(folder) if config.input == "symbols" else None
    with shapes_only():  # takes no memory, whatever sizes config.yaml asks for
        expected = Recognizer(config, tokenizer, alphabet).state_dict()
    weights = read_weights(folder, expected)
    recognizer = Recognizer(config, tokenizer, alphabet)
    recognizer.load_state_dict(weights)
    recognizer.calibration = read_calibration(folder / CALIBRATION, config.features.values)
    if (folder / BIGRAM).is_file():
        recognizer.bigram = folder / BIGRAM
    return recognizer
