"""Audio files and waveforms -> transcripts, in batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch

from rnnt.audio import AUDIO_SUFFIXES, mono_blocks, read_audio, to_pcm
from rnnt.decoding import Hypothesis
from rnnt.loader import collate
from rnnt.sampler import batches_by_length
from rnnt.silence import speech_bounds
from rnnt.transcript import Transcript
from rnnt.tree import find_files
from rnnt.word_times import align_hypotheses, with_words

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

BATCH_SECONDS = 1200  # of padded audio in a batch: some 4 GB of memory with the MLPerf model
_NO_MEMORY = "DefaultCPUAllocator"  # torch has no error class for the memory of a CPU
Audio = str | os.PathLike | bytes | BinaryIO | np.ndarray | torch.Tensor


def transcribe(
    recognizer: Recognizer, inputs: Audio | Iterable[Audio], batch_size: int | None = None
) -> list[Transcript]:
    """Return the transcripts of audio files (any format and rate) or waveforms (N,) at the model's rate.

    inputs: one input, or several. A file is a path, the bytes of a file, or a binary file object. A waveform is int16,
    or float in [-1, 1]. Utterances of similar length share a batch, of 20 minutes unless a single one is longer. The
    results are a list in the order of the inputs, also for one input, and none depends on its batch. Raises ValueError
    that names an input which cannot be read.
    """
    rate = recognizer.config.features.sample_rate
    audio = [named_waveform(item, rate, number) for number, item in enumerate(_several(inputs))]
    size = batch_size or recognizer.config.decoding.batch
    results: dict[int, Transcript] = {}
    with recognizer.inference():
        for indices in batches_by_length([len(samples) for samples in audio], size, BATCH_SECONDS * rate):
            results |= zip(indices, _transcribe_batch(recognizer, [audio[i] for i in indices]))
    return [results[i] for i in range(len(audio))]


def transcribe_files(
    recognizer: Recognizer, paths: str | os.PathLike | Sequence[Path], batch_size: int = 16
) -> Iterator[tuple[Path, Transcript | ValueError | OSError]]:
    """Yield each path, in order, with its transcript or with the error that says why there is none.

    paths: one path, or several.
    """
    paths = _several(paths)
    for start in range(0, len(paths), batch_size):
        results: dict[Path, Transcript | ValueError | OSError] = {}
        audio = {}
        for path in paths[start : start + batch_size]:
            try:
                audio[path] = waveform(path, recognizer.config.features.sample_rate)
            except (ValueError, OSError) as error:
                results[path] = error
        results |= _transcribe_or_report(recognizer, audio, batch_size)
        yield from ((path, results[path]) for path in paths[start : start + batch_size])


def _transcribe_or_report(
    recognizer: Recognizer, audio: dict[Path, np.ndarray], batch_size: int
) -> dict[Path, Transcript | ValueError]:
    """Transcribe waveforms together, or each alone if memory is short. One that is too long alone gets an error."""
    try:
        return dict(zip(audio, transcribe(recognizer, list(audio.values()), batch_size)))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and _NO_MEMORY not in str(error):
            raise
    if len(audio) == 1:
        return {path: ValueError(f"{path}: is too long for the memory of this machine; split it") for path in audio}
    results = {}
    for path, samples in audio.items():
        results |= _transcribe_or_report(recognizer, {path: samples}, batch_size)
    return results


def _transcribe_batch(recognizer: Recognizer, audio: list[np.ndarray]) -> list[Transcript]:
    bounds = [(0, len(samples)) for samples in audio]
    if recognizer.config.features.trim_silence:
        bounds = [speech_bounds(samples) for samples in audio]
    inputs = [samples[start:end] for samples, (start, end) in zip(audio, bounds)]
    batch = collate(inputs, [[]] * len(inputs), [""] * len(inputs)).to(recognizer.device)
    encoder_BTD, lengths = recognizer.encode(batch)
    hypotheses = recognizer.decode(batch, encoder_BTD, lengths)
    alignments = align_hypotheses(recognizer, hypotheses, encoder_BTD, lengths)
    return [
        with_words(make_transcript(recognizer, hypothesis, start, len(samples)), alignment, recognizer, samples, start)
        for hypothesis, alignment, (start, _), samples in zip(hypotheses, alignments, bounds, audio)
    ]


def make_transcript(recognizer: Recognizer, hypothesis: Hypothesis, start: int, num_samples: int) -> Transcript:
    """Return the transcript of a hypothesis.

    start: the sample at which the decoded audio begins; num_samples: of the whole utterance.
    """
    rate, step = recognizer.config.features.sample_rate, recognizer.frame_seconds
    return Transcript(
        recognizer.tokenizer.decode(hypothesis.tokens),
        hypothesis.tokens,
        hypothesis.frames,
        [round(start / rate + frame * step, 3) for frame in hypothesis.frames],
        hypothesis.log_probs,
        num_samples / rate,
        hypothesis.truncated,
    )


def _several(inputs: Audio | Iterable[Audio]) -> Iterable[Audio]:
    """Return a single input as a list of one."""
    single = isinstance(inputs, (str, os.PathLike, bytes, bytearray)) or hasattr(inputs, "read")
    if isinstance(inputs, torch.Tensor) or (isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "OSU"):
        single = inputs.ndim < 2
    elif isinstance(inputs, (list, tuple)):
        single = len(inputs) > 0 and isinstance(inputs[0], Real)
    return [inputs] if single else inputs


def named_waveform(item: Audio, sample_rate: int, number: int) -> np.ndarray:
    """Return an input as `waveform` does. The message of a ValueError names the file, or the input's number."""
    if isinstance(item, (str, os.PathLike)) or isinstance(getattr(item, "name", None), str):
        return waveform(item, sample_rate)
    try:
        return waveform(item, sample_rate)
    except ValueError as error:
        raise ValueError(f"input {number}: {str(error).removeprefix('<bytes>: ')}") from None


def waveform(item: Audio, sample_rate: int) -> np.ndarray:
    """Return an input as int16 samples (N,) at a sample rate. Raises ValueError if it is not audio."""
    if isinstance(item, (str, os.PathLike, bytes, bytearray)) or hasattr(item, "read"):
        return read_audio(item, sample_rate)
    if isinstance(item, torch.Tensor):
        item = item.detach().cpu()
        item = (item.float() if item.dtype in (torch.bfloat16, torch.float16) else item).numpy()  # numpy lacks bfloat16
    samples = np.asarray(item)
    if samples.ndim != 1 or len(samples) == 0:
        raise ValueError(f"a waveform must be (N,) with N > 0, not {samples.shape}")
    if np.issubdtype(samples.dtype, np.int16):
        return samples.astype(np.int16, copy=False)  # the bytes of a number may be in the other order
    if not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"a waveform must be int16 or float in [-1, 1], not {samples.dtype}")
    if not np.isfinite(samples).all():
        raise ValueError("a waveform holds NaN or infinity")
    try:
        (samples,) = mono_blocks([samples[:, None]])
    except ValueError as error:
        raise ValueError(f"a waveform {error}") from None
    return to_pcm(samples)


def audio_files(inputs: Sequence[Path]) -> list[Path]:
    """Return the files named and, sorted, the audio files in the folders named.

    Hidden files and folders are passed over. Linked folders are entered, but no folder twice. A folder that cannot be
    read stands for itself, so that transcribing it gives the reason. Raises ValueError if a folder holds no audio.
    """
    paths = []
    for item in inputs:
        found = [item]
        if os.path.isdir(item):
            tree = find_files(item)
            audio = (path for path in tree.files if path.suffix.lower() in AUDIO_SUFFIXES)
            found = sorted([*audio, *tree.unreadable])
        if not found:
            raise ValueError(f"{item} holds no audio files")
        paths += found
    return paths
