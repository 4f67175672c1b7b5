"""The system's microphone, as chunks of samples. It needs the package sounddevice: pip install 'rnnt[microphone]'."""

import warnings
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from types import ModuleType

import numpy as np

_LOOK_SECONDS = 0.1  # between two looks whether to stop, if no samples come


def microphone_chunks(rate: int, size: int, stopped: Callable[[], bool]) -> Iterator[np.ndarray]:
    """Yield the samples (size,) of the default microphone as they come, int16, until `stopped()` is true.

    rate: samples per second. Samples that were heard before the stop are still yielded. Samples wait if the caller is
    slow. A warning says so once if the system has lost some. Raises ImportError if sounddevice or its library PortAudio
    is not installed, and OSError if no microphone can be opened.
    """
    sound = _sounddevice()
    queue: SimpleQueue[tuple[np.ndarray, bool]] = SimpleQueue()

    def take(samples: np.ndarray, frames: int, time: object, status: object) -> None:
        queue.put((samples[:, 0].copy(), bool(status)))

    try:
        stream = sound.InputStream(samplerate=rate, blocksize=size, channels=1, dtype="int16", callback=take)
        stream.start()
    except (sound.PortAudioError, ValueError) as error:  # ValueError: no input device of the default's name
        raise OSError(
            f"no microphone can be opened at {rate} Hz ({error}); connect one, choose another --rate, or give samples "
            "on standard input: arecord -q -f S16_LE -r 16000 -c 1 -t raw | rnnt live MODEL"
        ) from None
    warned = False
    with stream:
        while True:
            if stop := stopped():
                stream.stop()
            try:
                samples, lost = queue.get(not stop, _LOOK_SECONDS)
            except Empty:
                if stop:
                    return
                continue
            if lost and not warned:
                warnings.warn("the system has lost samples of the microphone", UserWarning, stacklevel=2)
                warned = True
            yield samples


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except ImportError:
        raise ImportError("the microphone needs the package sounddevice: pip install 'rnnt[microphone]'") from None
    except OSError as error:
        raise ImportError(f"sounddevice needs PortAudio ({error}); on Debian: apt install libportaudio2") from None
    return sounddevice
