"""The espeak-ng speech synthesizer, driven through its C library so that the same request gives the same samples.

The library keeps state from one utterance to the next (the phase of the pitch's flutter, noise generators, resonators)
and `espeak_Terminate` does not clear it: measured, almost no sentence sounds twice the same. Hence the library is
loaded afresh for every utterance and its two noise generators are seeded, which makes the samples a function of the
request alone, in any order and in any process, for about 3 ms more. This holds as long as nobody else in the process
has the same library loaded.

espeak-ng is under the GPL, version 3; the package that brings it is optional and imported here alone.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

# From espeak-ng/speak_lib.h.
_SYNCHRONOUS = 2  # samples go to a callback on this thread; the mode "retrieval" has a thread that can hang
_DO_NOT_EXIT = 0x8000  # without it, missing data ends the process
_POSITION_CHARACTER, _UTF8 = 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_LONGEST_PATH = 150

_RECEIVER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_ENGINE = threading.Lock()  # the library has one global state


def synthesize(
    text: str, voice: str, rate: int = 175, pitch: int = 50, pitch_range: int = 50, seed: int = 0
) -> tuple[np.ndarray, int]:
    """Speak `text` with `voice`, a language of `languages()` and optionally `+` a variant of `variants()`.

    `rate` is in words per minute (80 to 450), `pitch` and `pitch_range` (how lively the melody is) go from 0 to 99;
    `seed` is that of the breath's noise. Gives int16 samples (N,) and their rate in Hz. Raises ValueError for a voice
    that does not exist (the engine itself would silently take another), a setting out of range, text without anything
    to say, and where the package espeakng-loader is missing.
    """
    language, plus, variant = voice.partition("+")
    if language not in languages():
        raise ValueError(f"espeak-ng has no language {language!r} for the voice {voice!r}")
    if plus and variant not in variants():
        raise ValueError(f"espeak-ng has no variant {variant!r} for the voice {voice!r}")
    if not (80 <= rate <= 450 and 0 <= pitch <= 99 and 0 <= pitch_range <= 99):
        raise ValueError(f"out of range: rate {rate} (80 to 450), pitch {pitch} or pitch_range {pitch_range} (0 to 99)")
    chunks: list[bytes] = []

    def receive(samples, count: int, _events) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    receiver = _RECEIVER(receive)
    encoded = text.encode()
    process = ctypes.CDLL(None)
    with _ENGINE:
        library = ctypes.CDLL(_loader().get_library_path())
        try:
            with _short_path(data_folder()) as folder:
                sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(folder), _DO_NOT_EXIT)
                if sample_rate <= 0:
                    raise ValueError(f"espeak-ng cannot read its data in {data_folder()}; install rnnt elsewhere")
                library.espeak_SetSynthCallback(receiver)
                process.srand(seed & 0x7FFFFFFF)
                library.espeak_ng_SetRandSeed(ctypes.c_long(seed & 0x7FFFFFFF))
                failed = library.espeak_SetVoiceByName(voice.encode())
                for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
                    failed |= library.espeak_SetParameter(parameter, int(value), 0)
                failed |= library.espeak_Synth(encoded, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, _UTF8, None, None)
                failed |= library.espeak_Synchronize()
        finally:
            library.espeak_Terminate()
            process.dlclose(ctypes.c_void_p(library._handle))
    samples = np.frombuffer(b"".join(chunks), np.int16)
    if failed or not samples.any():
        raise ValueError(f"espeak-ng cannot say {text!r} with the voice {voice!r}")
    return samples, sample_rate


@lru_cache(maxsize=1)
def languages() -> frozenset[str]:
    """The names that a voice can begin with, such as "en-us"; they are the engine's, lower case ("en" is British)."""
    return frozenset(path.name.lower() for path in (data_folder() / "lang").rglob("*") if path.is_file())


@lru_cache(maxsize=1)
def variants() -> frozenset[str]:
    """The names of the speakers that a voice can end with, such as "f3"; upper and lower case differ."""
    return frozenset(path.name for path in (data_folder() / "voices" / "!v").iterdir())


@lru_cache(maxsize=1)
def data_folder() -> Path:
    """The folder of the engine's dictionaries and voices."""
    return Path(_loader().get_data_path())


@contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """Another name of the folder where its own is longer than the engine has room for (160 bytes)."""
    if len(os.fsencode(folder)) <= _LONGEST_PATH or not os.path.isdir("/proc/self/fd"):
        yield str(folder)
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _loader():
    try:
        import espeakng_loader
    except ImportError:
        raise ValueError("speaking needs espeak-ng, which is not installed: pip install 'rnnt[synth]'") from None
    return espeakng_loader
