"""The espeak-ng speech synthesizer, called through its C library so that the same request gives the same samples.

The library keeps state from one utterance to the next (the phase of the pitch's flutter, noise generators, resonators),
and `espeak_Terminate` does not clear it: in a measurement, hardly any sentence gave the same samples twice. Therefore
each utterance loads the library anew and seeds its two noise generators. This costs about 3 ms, and the samples then
depend on the request alone, in any order and in any process, unless other code in the process loads the same library.

espeak-ng has the GPL, version 3, as its licence. The package that brings it is optional, and only this module imports
it.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

# From espeak-ng/speak_lib.h.
_SYNCHRONOUS = 2  # samples go to a callback on this thread; the mode "retrieval" uses a thread that can hang
_DO_NOT_EXIT = 0x8000  # without this flag, missing data ends the process
_PHONEME_EVENTS = 1
_END_OF_LIST, _WORD, _PHONEME = 0, 1, 7  # kinds of events
_POSITION_CHARACTER, _UTF8 = 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_LONGEST_PATH = 150  # bytes; the engine has room for 160


class _Event(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("character", ctypes.c_int),  # of the text, from 1
        ("length", ctypes.c_int),  # of a word, in characters
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("phoneme", ctypes.c_char * 8),
    )


_RECEIVER = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)  # fmt: skip
_ENGINE = threading.Lock()  # the library has one global state


@dataclass(frozen=True)
class Speech:
    """Synthetic speech: int16 samples (N,), their rate in Hz, and each word with the samples of its start and end."""

    samples: np.ndarray
    sample_rate: int
    words: tuple[tuple[str, int, int], ...]


def synthesize(text: str, voice: str, rate: int = 175, pitch: int = 50, pitch_range: int = 50, seed: int = 0) -> Speech:
    """Speak `text`. Words that the engine speaks as one are one word of the result.

    voice: a language of `languages()`, which `+` and a variant of `variants()` may follow. rate: words per minute (80
    to 450). pitch: 0 to 99. pitch_range: how lively the melody is, 0 to 99. seed: seed of the noise in the voice's
    breath. Raises ValueError for a voice that does not exist (the engine itself would silently use another one), for a
    setting out of range, for a text that cannot be spoken, and if the package espeakng-loader is missing.
    """
    language, plus, variant = voice.partition("+")
    if language not in languages():
        raise ValueError(f"espeak-ng has no language {language!r} for the voice {voice!r}")
    if plus and variant not in variants():
        raise ValueError(f"espeak-ng has no variant {variant!r} for the voice {voice!r}")
    if not (80 <= rate <= 450 and 0 <= pitch <= 99 and 0 <= pitch_range <= 99):
        raise ValueError(f"out of range: rate {rate} (80 to 450), pitch {pitch} or pitch_range {pitch_range} (0 to 99)")
    chunks: list[bytes] = []

    events: list[tuple[int, int, int, int, bytes]] = []

    def receive(samples, count: int, found) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        for event in iter(found) if found else ():
            if event.kind == _END_OF_LIST:
                break
            events.append((event.kind, event.sample, event.character, event.length, event.phoneme))
        return 0

    receiver = _RECEIVER(receive)
    encoded, flags = text.encode(), _DO_NOT_EXIT | _PHONEME_EVENTS
    process = ctypes.CDLL(None)
    with _ENGINE:
        library = ctypes.CDLL(_loader().get_library_path())
        try:
            with _short_path(data_folder()) as folder:
                sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(folder), flags)
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
    return Speech(samples, sample_rate, _words(text, events, len(samples)))


def _words(text: str, events: list[tuple[int, int, int, int, bytes]], end: int) -> tuple[tuple[str, int, int], ...]:
    """Return the words of the events. A word ends at a pause, which is a phoneme too, or when the next one begins."""
    words: list[tuple[str, int, int]] = []
    ended = True
    for kind, sample, character, length, phoneme in events:
        pause = kind == _PHONEME and phoneme.startswith(b"_")
        if (kind == _WORD or pause) and not ended:
            words[-1] = (*words[-1][:2], sample)
            ended = True
        if kind == _WORD:
            words.append((text[character - 1 : character - 1 + length], sample, end))
            ended = False
    return tuple(words)


@lru_cache(maxsize=1)
def languages() -> frozenset[str]:
    """Return the engine's names of languages, in lower case, such as "en-us" ("en" is British). A voice begins so."""
    return frozenset(path.name.lower() for path in (data_folder() / "lang").rglob("*") if path.is_file())


@lru_cache(maxsize=1)
def variants() -> frozenset[str]:
    """Return the engine's names of speakers, such as "f3". A voice may end so. Upper and lower case differ."""
    return frozenset(path.name for path in (data_folder() / "voices" / "!v").iterdir())


@lru_cache(maxsize=1)
def data_folder() -> Path:
    """Return the folder of the engine's dictionaries and voices."""
    return Path(_loader().get_data_path())


@contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """Give a path to the folder that the engine has room for: another one if the folder's own is too long."""
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
