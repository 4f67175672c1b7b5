"""Silence at the ends of an utterance."""

import numpy as np


def trim_silence(audio: np.ndarray) -> np.ndarray:
    """The part of the samples within `speech_bounds`."""
    start, end = speech_bounds(audio)
    return audio[start:end]


def speech_bounds(audio: np.ndarray, threshold_db: float = -60.0, window: int = 2048) -> tuple[int, int]:
    """First sample, and the one after the last, that are left when both ends are cut off as far as the mean power of
    `window` samples stays that far below its loudest place."""
    if len(audio) <= window:
        return 0, len(audio)
    # The energy of short blocks bounds that of the windows that start in them, and only where that leaves a doubt are
    # windows summed one by one: the same result in an eighth of the time.
    block = max(window // 8, 1)
    padded = np.zeros((-(-len(audio) // block), block, 1), np.float32)
    padded.reshape(-1)[: len(audio)] = audio
    energy = np.concatenate([[0.0], np.cumsum(padded.transpose(0, 2, 1) @ padded, dtype=np.float64)])
    windows = len(audio) - window + 1
    first = np.arange((windows - 1) // block + 1)
    # A window covers window // block blocks at least and touches two more at most. float32 rounds.
    most = 1.001 * (energy[np.minimum(first + window // block + 2, len(energy) - 1)] - energy[first])
    least = 0.999 * (energy[first + window // block] - energy[first])

    def energies(start: int, end: int) -> np.ndarray:
        """The exact energy of the windows that start at these samples."""
        total = np.concatenate([[0.0], np.cumsum(audio[start : end + window - 1].astype(np.float64) ** 2)])
        return total[window:] - total[:-window]

    def in_block(number: int) -> np.ndarray:
        return energies(number * block, min((number + 1) * block, windows))

    likely = np.flatnonzero(most >= least.max())
    few = len(likely) <= 32  # noise and tones are everywhere as loud
    loudest = max(in_block(number).max() for number in likely) if few else energies(0, windows).max()
    threshold = loudest * 10 ** (threshold_db / 10)
    doubtful = np.flatnonzero(most > threshold)

    def loud(numbers: np.ndarray) -> np.ndarray | None:
        """Where the loud windows of the first block that has one start."""
        for number in numbers:
            found = np.flatnonzero(in_block(number) > threshold)
            if len(found):
                return number * block + found
        return None

    starts = loud(doubtful)
    if starts is None:
        return 0, len(audio)
    return int(starts[0]), int(loud(doubtful[::-1])[-1]) + window
