"""Audio files and waveforms -> transcripts, in batches."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch

from rnnt.audio import AUDIO_SUFFIXES, audio_blocks, mono_blocks, read_audio, to_pcm
from rnnt.decoding import Hypothesis
from rnnt.loader import collate
from rnnt.recordings import End, Grid, Piece
from rnnt.sampler import batches_by_length
from rnnt.silence import speech_bounds
from rnnt.text import complaint
from rnnt.transcript import Transcript, join_segments
from rnnt.tree import find_files
from rnnt.word_times import align_hypotheses, spoken_audio, with_words

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

BATCH_SYMBOLS = 1 << 16  # of padded input in a batch of a model that reads symbols
BATCH_SECONDS = 1200  # of padded audio in a batch: some 4 GB of memory with the MLPerf model
_WINDOW_SECONDS = 1200  # of audio whose segments are sorted by length, at most
_NO_MEMORY = "DefaultCPUAllocator"  # torch has no error class for the memory of a CPU
Audio = str | os.PathLike | bytes | BinaryIO | np.ndarray | torch.Tensor


def transcribe(
    recognizer: Recognizer, inputs: Audio | Iterable[Audio], batch_size: int | None = None
) -> list[Transcript]:
    """Return the transcripts of audio files (any format and rate) or waveforms (N,) at the model's rate.

    inputs: one input, or several. A file is a path, the bytes of a file, or a binary file object. A waveform is int16,
    or float in [-1, 1]. Recordings of more than 30 s, and shorter ones with a pause of 2 s, are decoded in segments
    (`rnnt.segments`). Segments of similar length share a batch, of 20 minutes at most. The results are a list in the
    order of the inputs, also for one input, and none depends on its batch. Raises ValueError that names an input which
    cannot be read.
    """
    recognizer.require_input("audio")
    rate = recognizer.config.features.sample_rate
    sources = [partial(named_blocks, item, rate, number) for number, item in enumerate(_several(inputs))]
    results = []
    for result in _transcripts(recognizer, sources, batch_size or recognizer.config.decoding.batch):
        if isinstance(result, Exception):
            raise result
        if result.error:
            raise ValueError(result.error)
        results.append(result)
    return results


def transcribe_files(
    recognizer: Recognizer, paths: str | os.PathLike | Sequence[Path], batch_size: int = 16
) -> Iterator[tuple[Path, Transcript | ValueError | OSError]]:
    """Yield each path, in order, with its transcript or with the error that says why there is none.

    paths: one path, or several. They are read in the background, and their segments are decoded together, sorted by
    length. A recording of more than 30 s that is damaged has a transcript up to there, which holds the error.
    """
    recognizer.require_input("audio")
    rate = recognizer.config.features.sample_rate
    paths = list(_several(paths))
    sources = [partial(named_blocks, path, rate, number) for number, path in enumerate(paths)]
    for path, result in zip(paths, _transcripts(recognizer, sources, batch_size)):
        yield path, named_error(result, path)


def named_error(result: Transcript | Exception, name: object) -> Transcript | Exception:
    """Return a result; if it is the error of a segment that is too long for the memory, it names the recording."""
    return ValueError(f"{name}: {result}") if isinstance(result, _TooLongError) else result


class _TooLongError(ValueError):
    """Raised for a segment that does not fit the memory."""


def _transcripts(
    recognizer: Recognizer, sources: Sequence[Callable[[], Iterable[np.ndarray]]], batch_size: int
) -> Iterator[Transcript | ValueError | OSError]:
    """Yield the result of each recording, in order, as soon as it and those before it are there."""
    grid = Grid.of(recognizer)
    done: dict[int, list[tuple[Piece, Transcript | ValueError]]] = defaultdict(list)
    waiting: Counter[int] = Counter()  # segments of each recording that are not decoded yet
    ends: dict[int, End] = {}
    following = 0
    for window in grid.windows(sources, batch_size, _WINDOW_SECONDS):
        pieces = [item for item in window if isinstance(item, Piece)]
        ends |= {item.recording: item for item in window if isinstance(item, End)}
        waiting.update(piece.recording for piece in pieces)
        for decoded in chain([[]], transcribe_pieces(recognizer, pieces, batch_size)):
            for piece, result in decoded:
                done[piece.recording].append((piece, result))
                waiting[piece.recording] -= 1
            while following in ends and not waiting[following]:
                yield join_pieces(ends.pop(following), done.pop(following, []), grid)
                following += 1


def transcribe_pieces(
    recognizer: Recognizer, pieces: Sequence[Piece], batch_size: int
) -> Iterator[list[tuple[Piece, Transcript | ValueError]]]:
    """Yield the segments of a window, without samples, with their transcripts, batch by batch, sorted by length.

    A segment that does not fit the memory has an error instead.
    """
    limits = batch_size, BATCH_SECONDS * recognizer.config.features.sample_rate
    for indices in batches_by_length([len(piece.samples) for piece in pieces], *limits):
        results = _transcribe_or_report(recognizer, [pieces[i].samples for i in indices])
        yield [(pieces[i].without_samples(), result) for i, result in zip(indices, results)]


def join_pieces(
    end: End, parts: Iterable[tuple[Piece, Transcript | ValueError]], grid: Grid
) -> Transcript | ValueError | OSError:
    """Return the transcript of a recording, given its segments in any order, or its error if none was decoded."""
    parts = sorted(parts, key=lambda part: part[0].start)
    decoded = [
        (piece.start / grid.rate, piece.end / grid.rate, piece.start // grid.step, part)
        for piece, part in parts
        if isinstance(part, Transcript)
    ]
    error = next((part for _, part in parts if isinstance(part, ValueError)), end.error)
    if error is not None and not decoded:
        return error
    return join_segments(decoded, end.length / grid.rate, None if error is None else complaint(error))


def _transcribe_or_report(recognizer: Recognizer, audio: list[np.ndarray]) -> list[Transcript | ValueError]:
    """Transcribe waveforms together, or each alone if memory is short. One that is too long alone gets an error."""
    if not audio:
        return []
    try:
        with recognizer.inference():
            return _transcribe_batch(recognizer, audio)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and _NO_MEMORY not in str(error):
            raise
    if len(audio) == 1:
        return [_TooLongError("is too long for the memory of this machine; split it")]
    return [result for samples in audio for result in _transcribe_or_report(recognizer, [samples])]


def _transcribe_batch(recognizer: Recognizer, audio: list[np.ndarray]) -> list[Transcript]:
    bounds = [(0, len(samples)) for samples in audio]
    if recognizer.config.features.trim_silence:
        bounds = [speech_bounds(samples) for samples in audio]
    inputs = [samples[start:end] for samples, (start, end) in zip(audio, bounds)]
    batch = collate(inputs, [[]] * len(inputs), [""] * len(inputs)).to(recognizer.device)
    features_BTF, encoder_BTD, lengths = recognizer.listen(batch)
    hypotheses = recognizer.decode(batch, encoder_BTD, lengths)
    alignments = align_hypotheses(recognizer, hypotheses, encoder_BTD, lengths)
    starts = [start for start, _ in bounds]
    transcripts = [
        make_transcript(recognizer, hypothesis, start, len(samples))
        for hypothesis, start, samples in zip(hypotheses, starts, audio)
    ]
    return with_words(recognizer, transcripts, alignments, spoken_audio(recognizer, features_BTF, inputs, starts))


def make_transcript(recognizer: Recognizer, hypothesis: Hypothesis, start: int, num_samples: int) -> Transcript:
    """Return the transcript of a hypothesis.

    start: the sample at which the decoded audio begins; num_samples: of the whole utterance. Without audio, times and
    seconds are 0.
    """
    rate, step = recognizer.config.features.sample_rate, recognizer.frame_seconds
    return Transcript(
        recognizer.tokenizer.decode(hypothesis.tokens),
        hypothesis.tokens,
        hypothesis.frames,
        [round(start / rate + frame * step, 3) for frame in hypothesis.frames],
        hypothesis.log_probs,
        num_samples / rate if step else 0.0,
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


def named_blocks(item: Audio, sample_rate: int, number: int) -> Iterator[np.ndarray]:
    """Yield the int16 blocks (N,) of an input. The message of a ValueError names the file, or the input's number."""
    if isinstance(item, (str, os.PathLike)) or isinstance(getattr(item, "name", None), str):
        yield from audio_blocks(item, sample_rate)
    elif isinstance(item, (bytes, bytearray)) or hasattr(item, "read"):
        yield from audio_blocks(item, sample_rate, f"input {number}")
    else:
        yield named_waveform(item, sample_rate, number)


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
