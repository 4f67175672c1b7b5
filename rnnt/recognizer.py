"""A trained model with all that it needs to turn audio into text. `load` opens one from a folder."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import yaml
from safetensors import SafetensorError
from torch import nn

from rnnt.audio import AUDIO_SUFFIXES, read_audio, to_pcm
from rnnt.config import Config
from rnnt.dataset import Dataset
from rnnt.decoding import Hypothesis, greedy
from rnnt.device import autocast, find_device, float32_products
from rnnt.error_rate import Pair
from rnnt.features import Features
from rnnt.files import write_file
from rnnt.loader import collate
from rnnt.model import Transducer
from rnnt.settings import from_tree, to_yaml
from rnnt.silence import speech_bounds, trim_silence
from rnnt.tokenizer import Tokenizer, UnknownSymbolError, load_tokenizer

_WHOLE_SECONDS = 40  # for which decoding.max_symbols is meant: all of LibriSpeech is shorter
_BATCH_SECONDS = 1200  # of padded audio at most: some 4 GB of memory with the MLPerf model
Audio = str | os.PathLike | np.ndarray | torch.Tensor


@dataclass(frozen=True)
class Transcript:
    """The text of one utterance; for each token the encoder frame that emitted it, its time in seconds and log P.

    cut: `decoding.max_symbols` was met before the end; the rest of the text is missing.
    """

    text: str
    tokens: list[int]
    frames: list[int]
    times: list[float]
    log_probs: list[float]
    seconds: float  # of audio
    cut: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What came of a dataset: pairs in its order, the mean loss in nats a symbol, over how many symbols that is, what
    was skipped (id, reason), and the ids of those that `decoding.max_symbols` cut short."""

    pairs: list[Pair]
    loss: float
    symbols: int
    skipped: list[tuple[str, str]]
    cut: list[str]


class Recognizer(nn.Module):
    """Features, model and tokenizer; `config` is that of the run that made them."""

    def __init__(self, config: Config, tokenizer: Tokenizer):
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.features = Features(config.features)
        self.model = Transducer(self.features.width, len(tokenizer) + 1, config.model)

    @property
    def device(self) -> torch.device:
        return self.model.joint.output.weight.device

    @property
    def frame_seconds(self) -> float:
        """Seconds from one encoder frame to the next."""
        return self.features.frame_seconds * self.config.model.encoder.lstm.time_stack

    def transcribe(self, inputs: Iterable[Audio], batch_size: int | None = None) -> list[Transcript]:
        """Texts of audio files (any format and rate) or waveforms (N,) at the model's rate, int16 or float in [-1, 1].

        Utterances of like length share a batch, of 20 minutes at most unless one alone is longer; the results come in
        the order of the inputs, and none depends on its batch. Raises ValueError that names the input which cannot be
        read.
        """
        audio = [self._named_waveform(item, number) for number, item in enumerate(inputs)]
        results: dict[int, Transcript] = {}
        for part in self._batches([len(samples) for samples in audio], batch_size):
            for i, hypothesis in zip(part, self._decode([audio[i] for i in part])[0]):
                results[i] = self._transcript(hypothesis, audio[i])
        return [results[i] for i in range(len(audio))]

    def _batches(self, num_samples: Sequence[int], batch_size: int | None) -> Iterator[list[int]]:
        """The utterances' numbers in batches, the short ones first; a long recording has a batch of its own."""
        size = batch_size or self.config.decoding.batch
        most = _BATCH_SECONDS * self.config.features.sample_rate
        batch: list[int] = []
        for i in np.argsort(num_samples, kind="stable").tolist():
            if batch and (len(batch) == size or (len(batch) + 1) * num_samples[i] > most):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def transcribe_files(
        self, paths: Sequence[Path], batch_size: int = 16
    ) -> Iterator[tuple[Path, Transcript | ValueError | OSError]]:
        """Each path, in order, with its transcript or with the error that says why there is none."""
        for start in range(0, len(paths), batch_size):
            results: dict[Path, Transcript | ValueError | OSError] = {}
            audio = {}
            for path in paths[start : start + batch_size]:
                try:
                    audio[path] = self.waveform(path)
                except (ValueError, OSError) as error:
                    results[path] = error
            results |= zip(audio, self.transcribe(audio.values(), batch_size))
            yield from ((path, results[path]) for path in paths[start : start + batch_size])

    def _named_waveform(self, item: Audio, number: int) -> np.ndarray:
        if isinstance(item, (str, os.PathLike)):
            return self.waveform(item)
        try:
            return self.waveform(item)
        except ValueError as error:
            raise ValueError(f"input {number}: {error}") from None

    def waveform(self, item: Audio) -> np.ndarray:
        """An input as int16 samples at the model's rate."""
        if isinstance(item, (str, os.PathLike)):
            return read_audio(item, self.config.features.sample_rate)
        samples = item.detach().cpu().numpy() if isinstance(item, torch.Tensor) else np.asarray(item)
        if samples.ndim != 1 or len(samples) == 0:
            raise ValueError(f"a waveform must be (N,) with N > 0, not {samples.shape}")
        if samples.dtype == np.int16:
            return samples
        if not np.issubdtype(samples.dtype, np.floating):
            raise ValueError(f"a waveform must be int16 or float in [-1, 1], not {samples.dtype}")
        if not np.isfinite(samples).all():
            raise ValueError("a waveform holds NaN or infinity")
        return to_pcm(samples)

    def evaluate(
        self,
        dataset: Dataset,
        batch_size: int | None = None,
        track: Callable[[Iterable, int, str], Iterable] = lambda items, total, name: items,
    ) -> Evaluation:
        """Decode every utterance. One that cannot be read or decoded is skipped and listed; its words are not scored.

        track(iterable, total, description) may show the progress. An utterance whose reference holds symbols that the
        tokenizer does not know is scored all the same, and left out of the loss.
        """
        if dataset.sample_rate != self.config.features.sample_rate:
            raise ValueError(
                f"the data is at {dataset.sample_rate} Hz, the model at {self.config.features.sample_rate} Hz; "
                "prepare the data again with the model's rate"
            )
        pairs: dict[int, Pair] = {}
        skipped: list[tuple[str, str]] = []
        cut: list[str] = []
        total_loss, symbols = 0.0, 0
        for i, transcript, loss, length, problem in track(
            self._evaluate_each(dataset, batch_size), len(dataset), "evaluate"
        ):
            record_id = dataset.id(i)
            if problem:
                skipped.append((record_id, problem))
                continue
            pairs[i] = Pair(record_id, dataset.text(i), transcript.text, transcript.seconds)
            if transcript.cut:
                cut.append(record_id)
            if math.isfinite(loss):
                total_loss, symbols = total_loss + loss, symbols + length
        ordered = [pairs[i] for i in sorted(pairs)]
        return Evaluation(ordered, total_loss / symbols if symbols else math.nan, symbols, skipped, cut)

    def _evaluate_each(self, dataset: Dataset, batch_size: int | None) -> Iterator[tuple]:
        for part in self._batches(dataset.num_samples, batch_size):
            try:
                results = self._evaluate_batch(dataset, part)
            except (ValueError, RuntimeError, OSError):  # find the culprit by decoding one by one
                results = []
                for i in part:
                    try:
                        results += self._evaluate_batch(dataset, [i])
                    except (ValueError, RuntimeError, OSError) as error:
                        reason = " ".join(str(error).split())[:200] or type(error).__name__
                        results.append((i, None, math.nan, 0, reason))
            yield from results

    def _evaluate_batch(self, dataset: Dataset, part: list[int]) -> list[tuple]:
        records = [dataset[i] for i in part]
        targets, known = [], []
        for record in records:
            try:
                targets.append(self.tokenizer.encode(record.text))
                known.append(True)
            except UnknownSymbolError:
                targets.append([])
                known.append(False)
        sizes = torch.tensor([len(target) for target in targets])
        padded = nn.utils.rnn.pad_sequence([torch.tensor(x, dtype=torch.long) for x in targets], batch_first=True)
        with self._inference():
            hypotheses, encoder_BTD, lengths = self._decode([record.audio for record in records])
            losses = self.model.loss(encoder_BTD, lengths, padded.to(self.device), sizes).tolist()
        return [
            (i, self._transcript(hypothesis, record.audio), loss if ok else math.nan, len(target), "")
            for i, hypothesis, record, loss, ok, target in zip(part, hypotheses, records, losses, known, targets)
        ]

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Without dropout and gradients, in the configured precision; after it the model trains on if it did before."""
        training = self.training
        self.eval()
        try:
            precision = self.config.precision, self.device
            with torch.inference_mode(), float32_products(*precision), autocast(*precision):
                yield
        finally:
            self.train(training)

    def _decode(self, audio: Sequence[np.ndarray]) -> tuple[list[Hypothesis], torch.Tensor, torch.Tensor]:
        if self.config.features.trim_silence:
            audio = [trim_silence(samples) for samples in audio]
        batch = collate(audio, [[]] * len(audio), [""] * len(audio)).to(self.device)
        with self._inference():
            encoder_BTD, lengths = self.model.encoder(*self.features(batch.audio, batch.num_samples))
            limits = self._max_symbols(batch.num_samples)
            return greedy(self.model, encoder_BTD, lengths, self.config.decoding, limits), encoder_BTD, lengths

    def _max_symbols(self, num_samples: torch.Tensor) -> torch.Tensor:
        """For each utterance (B,), so that no long recording is cut that speaks no faster than a short one may."""
        whole = _WHOLE_SECONDS * self.config.features.sample_rate
        return torch.ceil(self.config.decoding.max_symbols * (num_samples / whole).clamp(min=1)).long()

    def _transcript(self, hypothesis: Hypothesis, audio: np.ndarray) -> Transcript:
        rate = self.config.features.sample_rate
        start = speech_bounds(audio)[0] / rate if self.config.features.trim_silence else 0.0
        return Transcript(
            self.tokenizer.decode(hypothesis.tokens),
            hypothesis.tokens,
            hypothesis.frames,
            [round(start + frame * self.frame_seconds, 3) for frame in hypothesis.frames],
            hypothesis.log_probs,
            len(audio) / rate,
            hypothesis.cut,
        )

    def save(self, folder: Path) -> None:
        """Write the model's folder: config.yaml, tokenizer, model.safetensors. Each file is replaced as a whole.

        OSError (a full disk) leaves the weights that were there before.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_file(folder / "config.yaml", to_yaml(self.config))
            self.tokenizer.save(folder)
            weights = {name: value.contiguous() for name, value in self.state_dict().items()}
            write_file(folder / "model.safetensors", safetensors.torch.save(weights))
        except OSError as error:
            raise OSError(f"cannot save {folder}: {error}") from error


def audio_files(inputs: Sequence[Path]) -> list[Path]:
    """The files named and, sorted, the audio files in the folders named. Raises ValueError where one has none."""
    paths = []
    for item in inputs:
        if not item.is_dir():
            paths.append(item)
            continue
        found = sorted(path for path in item.rglob("[!.]*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
        if not found:
            raise ValueError(f"{item} holds no audio files")
        paths += found
    return paths


def read_config(path: Path) -> Config:
    """The config.yaml of a run or a model. Raises ValueError where it is not one."""
    if not path.is_file():
        raise ValueError(f"{path.parent} is no model and no run: it has no config.yaml")
    try:
        return from_tree(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not readable as YAML: {' '.join(str(error).split())}") from None


def model_folder(path: str | Path) -> Path:
    """The model's folder that a path means: itself, or RUN/best. Raises ValueError where there is no model."""
    path = Path(path)
    for folder in (path, path / "best"):
        if (folder / "model.safetensors").is_file():
            return folder
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a model's folder or a run's")
    hint = "; it has no model yet" if (path / "config.yaml").is_file() else ""
    raise ValueError(f"{path} holds no model.safetensors and no best/model.safetensors{hint}")


def load(path: str | Path, device: str = "cpu") -> Recognizer:
    """Open a model's folder, or the best model of a run. Raises ValueError where it is none or damaged."""
    where = find_device(device)
    folder = model_folder(path)
    config = read_config(folder / "config.yaml")
    recognizer = Recognizer(config, load_tokenizer(folder, config.tokenizer))
    try:
        recognizer.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder}/model.safetensors is damaged or of another model: {reason}") from None
    return recognizer.to(where).eval()
