"""Audio as clients send it: uploaded files, and samples in the messages of a stream."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np

from rnnt.audio import audio_blocks


def decode_upload(data: bytes, sample_rate: int, name: str, most_seconds: float) -> np.ndarray:
    """Return an uploaded recording as int16 samples (N,).

    Raises ValueError if it is no audio, is damaged, or lasts longer than `most_seconds`: decoding stops there, however
    long the file claims to be.
    """
    blocks, count = [], 0
    for block in audio_blocks(io.BytesIO(data), sample_rate, name):
        count += len(block)
        if count > most_seconds * sample_rate:
            raise ValueError(f"{name}: lasts longer than the {most_seconds:g} s that this server takes; split it")
        blocks.append(block)
    return np.concatenate(blocks)


def samples_of(message: bytes, kind: str) -> np.ndarray:
    """Return the samples (N,) of a message. kind: "int16" or "float32", little-endian.

    Raises ValueError if a sample is incomplete.
    """
    size = {"int16": 2, "float32": 4}[kind]
    if len(message) % size:
        raise ValueError(f"a message of {len(message)} bytes ends within a sample; send whole samples of {size} bytes")
    return np.frombuffer(message, {"int16": "<i2", "float32": "<f4"}[kind])


def samples_of_base64(text: object) -> np.ndarray:
    """Return the int16 samples (N,) of base64. Raises ValueError if it is none, or a sample is incomplete."""
    try:
        return samples_of(base64.b64decode(text, validate=True), "int16")
    except (binascii.Error, TypeError):
        raise ValueError("the audio is no base64") from None
