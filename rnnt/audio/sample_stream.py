"""Samples that come in chunks, at any rate -> int16 samples at one rate: the same as those of a file."""

import numpy as np
import soxr
import torch

from rnnt.audio.decoder import check_rate
from rnnt.audio.level import highest_sample
from rnnt.audio.reading import to_pcm


class SampleStream:
    """Converts the chunks of a stream, with what resampling needs of the earlier ones as its state.

    sample_rate: of the chunks; wanted: of what `convert` returns. Raises ValueError if no recorder has the rate.
    """

    def __init__(self, sample_rate: int, wanted: int):
        self._resampler = None
        if sample_rate == wanted:
            return
        try:
            check_rate(sample_rate)
        except ValueError:
            message = f"sample_rate is {sample_rate}; no recorder has it, it must be between 4000 and 768000"
            raise ValueError(message) from None
        self._resampler = soxr.ResampleStream(sample_rate, wanted, 1, dtype="float32", quality="HQ")  # as files are

    def convert(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Return the samples that a chunk from `check_samples` gives; if it is the last, all that are still owed."""
        if self._resampler is None:
            return samples.astype(np.int16) if samples.dtype.kind == "i" else to_pcm(samples)
        samples = samples / np.float32(32768) if samples.dtype.kind == "i" else samples
        return to_pcm(self._resampler.resample_chunk(np.ascontiguousarray(samples, np.float32), last=last))


def check_samples(samples: np.ndarray | torch.Tensor) -> np.ndarray:
    """Return a chunk (N,) of int16, or of floats in [-1, 1]. Raises ValueError if it is something else."""
    samples = samples.detach().cpu().numpy() if isinstance(samples, torch.Tensor) else np.asarray(samples)
    if samples.ndim != 1:
        raise ValueError(f"samples of a stream must be (N,), not {samples.shape}; average channels first")
    if np.issubdtype(samples.dtype, np.int16):
        return samples
    if not np.issubdtype(samples.dtype, np.floating) and len(samples):
        raise ValueError(f"samples of a stream must be int16 or float in [-1, 1], not {samples.dtype}")
    try:
        highest_sample(samples)
    except ValueError as error:
        raise ValueError(f"the stream {error}") from None
    return samples
