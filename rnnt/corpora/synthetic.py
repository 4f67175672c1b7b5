"""Spoken commands made by a speech synthesizer: a corpus that needs no files and is the same everywhere for a seed.

Sentences come from `rnnt.corpora.grammar`, voices are the English accents of espeak-ng times the variants (speakers)
below. The three splits share neither sentences nor variants; accents they do share. What a variant is was judged from
its definition and from measurements: left out are whispers, robots, echoes, and those whose first three formants or
whose timing are distorted. Variants that derive from one another stay in one split, so that a voice of `test` is new.
"""

import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from rnnt.audio import resample, to_pcm
from rnnt.corpora import Split, Utterance
from rnnt.corpora.espeak import synthesize
from rnnt.corpora.grammar import deal, sentences

ACCENTS = (
    "en",  # Great Britain
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",  # Lancaster
    "en-gb-x-gbcwmd",  # West Midlands
    "en-us",
    "en-us-nyc",
    "en-029",  # the Caribbean
)
VARIANTS = {
    "train": (
        *("m1", "m2", "m3", "m4", "m6", "max", "Mike", "adam", "benjamin", "klatt4", "klatt6", "Reed", "Diogo"),
        *("Henrique", "Hugo", "michel", "Mario", "Michael", "iven3", "paul", "quincy", "Storm"),
        *("f1", "f4", "linda", "belinda", "aunty", "Annie", "shelby"),
    ),
    "valid": ("Alex", "Gene", "john", "f3"),
    "test": ("m7", "m8", "Nguyen", "Denis", "victor", "rob", "robert", "f2", "f5"),
}
# Each is drawn evenly for an utterance.
RATE = (130, 200)  # words per minute
PITCH = (30, 70)
PITCH_RANGE = (30, 70)
SPEECH_DBFS = (-32.0, -16.0)
NOISE_DBFS = (-75.0, -55.0)
END_SECONDS = (0.1, 0.3)  # before and after the speech

# Of larger splits the longest kinds of sentence would make up nearly all.
MAX_UTTERANCES = {"train": 100_000, "valid": 10_000, "test": 10_000}
_PEAK = 0.9


def splits(
    source: Path | None = None,
    seed: int = 0,
    train_utterances: int = 4000,
    valid_utterances: int = 200,
    test_utterances: int = 300,
) -> dict[str, Split]:
    """Splits `train`, `valid` and `test`, the same for the same `seed`; `source` is not used.

    No sentence comes twice. To which split a sentence belongs follows from its words alone, so it is the same for every
    seed and size. Raises ValueError for sizes out of range.
    """
    sizes = {"train": train_utterances, "valid": valid_utterances, "test": test_utterances}
    for name, size in sizes.items():
        if not 1 <= size <= MAX_UTTERANCES[name]:
            raise ValueError(f"{name}_utterances must be between 1 and {MAX_UTTERANCES[name]}, not {size}")
    return {name: Split(list(_utterances(name, size, seed))) for name, size in sizes.items()}


def voices(split: str) -> list[str]:
    """The names of the voices of a split: every accent with every variant, such as "en-us+f3"."""
    return [f"{accent}+{variant}" for accent in ACCENTS for variant in VARIANTS[split]]


def speak(
    text: str,
    voice: str = "en-us+f3",
    rate: int = 165,
    pitch: int = 50,
    pitch_range: int = 50,
    sample_rate: int = 16000,
    seed: int = 0,
) -> np.ndarray:
    """Speak `text` as the corpus does: int16 samples (N,) with some quiet at both ends and a low noise throughout.

    `seed` draws loudness, noise and the length of the quiet. Equal arguments give equal samples, in any process.
    Raises ValueError where `rnnt.corpora.espeak.synthesize`, which explains the other arguments, does.
    """
    rng = np.random.default_rng(seed)
    spoken, spoken_rate = synthesize(text, voice, rate, pitch, pitch_range, seed)
    sounding = np.flatnonzero(spoken)  # the engine puts digital silence at the ends
    speech = resample(spoken[sounding[0] : sounding[-1] + 1].astype(np.float32) / 32768, spoken_rate, sample_rate)
    speech *= min(_amplitude(rng.uniform(*SPEECH_DBFS)) / np.sqrt(np.mean(speech**2)), _PEAK / np.abs(speech).max())
    before, after = (round(seconds * sample_rate) for seconds in rng.uniform(*END_SECONDS, size=2))
    noise = rng.standard_normal(before + len(speech) + after, dtype=np.float32)
    return to_pcm(noise * np.float32(_amplitude(rng.uniform(*NOISE_DBFS))) + np.pad(speech, (before, after)))


def split_of(text: str) -> str:
    """The split to which a sentence belongs: one in ten is for `test`, one in ten for `valid`."""
    return {0: "test", 1: "valid"}.get(zlib.crc32(text.encode()) % 10, "train")


def _utterances(split: str, size: int, seed: int) -> Iterator[Utterance]:
    rng = np.random.default_rng([seed, zlib.crc32(split.encode())])
    pack = deal(tuple(voices(split)), rng)
    seen: set[str] = set()
    for text in sentences(seed):
        if split_of(text) != split or text in seen:
            continue
        number = len(seen)
        seen.add(text)
        voice = next(pack)
        rate, pitch, pitch_range = (int(rng.integers(low, high + 1)) for low, high in (RATE, PITCH, PITCH_RANGE))
        read = partial(_read, text, voice, rate, pitch, pitch_range, int(rng.integers(2**31)))
        yield Utterance(f"{split}-{seed}-{number:05d}", text, voice, read)
        if len(seen) == size:
            return


def _read(text: str, voice: str, rate: int, pitch: int, pitch_range: int, seed: int, sample_rate: int) -> np.ndarray:
    return speak(text, voice, rate, pitch, pitch_range, sample_rate, seed)


def _amplitude(dbfs: float) -> float:
    """The root mean square, as a share of full scale."""
    return 10 ** (dbfs / 20)
