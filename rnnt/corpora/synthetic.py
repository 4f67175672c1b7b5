"""Spoken commands made by a speech synthesizer. This corpus needs no files, and a seed gives the same one everywhere.

Sentences come from `rnnt.corpora.grammar`. A voice is an English accent of espeak-ng with one of the variants
(speakers) below. The three splits share accents, but no sentences and no variants. Variants that derive from one
another are in the same split, so that the voices of `test` are new.

Variants were chosen by their definitions and by measurements. Whispers, robots and echoes are left out, and variants
whose first three formants or whose timing are distorted.
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
# Each utterance draws a value evenly from each of these ranges.
RATE = (130, 200)  # words per minute
PITCH = (30, 70)
PITCH_RANGE = (30, 70)
SPEECH_DBFS = (-32.0, -16.0)
NOISE_DBFS = (-75.0, -55.0)
END_SECONDS = (0.1, 0.3)  # before and after the speech

# Short kinds of sentence run out first, so larger splits would consist almost only of the longest kinds.
MAX_UTTERANCES = {"train": 100_000, "valid": 10_000, "test": 10_000}
_PEAK = 0.9  # the largest amplitude of the speech, as a share of full scale


def splits(
    source: Path | None = None,
    seed: int = 0,
    train_utterances: int = 4000,
    valid_utterances: int = 200,
    test_utterances: int = 300,
) -> dict[str, Split]:
    """Compose the splits `train`, `valid` and `test`, the same ones for the same `seed`. `source` is not used.

    No sentence occurs twice. A sentence's words determine its split, so it is in the same split for every seed and
    size. Raises ValueError for a size out of range.
    """
    sizes = {"train": train_utterances, "valid": valid_utterances, "test": test_utterances}
    for name, size in sizes.items():
        if not 1 <= size <= MAX_UTTERANCES[name]:
            raise ValueError(f"{name}_utterances must be between 1 and {MAX_UTTERANCES[name]}, not {size}")
    return {name: Split(list(_utterances(name, size, seed))) for name, size in sizes.items()}


def voices(split: str) -> list[str]:
    """Return the voices of a split: every accent with every variant, such as "en-us+f3"."""
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
    """Speak `text` as in the corpus: int16 samples (N,) with a pause at both ends and low noise throughout.

    `seed` determines loudness, noise and the length of the pauses. The other arguments are those of
    `rnnt.corpora.espeak.synthesize`, which also says when ValueError is raised. Equal arguments give equal samples, in
    any process.
    """
    return speak_words(text, voice, rate, pitch, pitch_range, sample_rate, seed)[0]


def speak_words(
    text: str, voice: str, rate: int, pitch: int, pitch_range: int, sample_rate: int, seed: int
) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """Return the samples of `speak`, and each word with its start and end in seconds, as the engine gives them."""
    rng = np.random.default_rng(seed)
    spoken = synthesize(text, voice, rate, pitch, pitch_range, seed)
    sounding = np.flatnonzero(spoken.samples)  # to remove the digital silence that the engine puts at the ends
    sounds = spoken.samples[sounding[0] : sounding[-1] + 1].astype(np.float32) / 32768
    speech = resample(sounds, spoken.sample_rate, sample_rate)
    speech *= min(_amplitude(rng.uniform(*SPEECH_DBFS)) / np.sqrt(np.mean(speech**2)), _PEAK / np.abs(speech).max())
    before, after = (round(seconds * sample_rate) for seconds in rng.uniform(*END_SECONDS, size=2))
    noise = rng.standard_normal(before + len(speech) + after, dtype=np.float32)
    samples = to_pcm(noise * np.float32(_amplitude(rng.uniform(*NOISE_DBFS))) + np.pad(speech, (before, after)))
    bounds = np.array([bounds for _, *bounds in spoken.words]).clip(sounding[0], sounding[-1] + 1) - sounding[0]
    seconds = (before / sample_rate + bounds / spoken.sample_rate).tolist()
    return samples, [(word, start, end) for (word, *_), (start, end) in zip(spoken.words, seconds)]


def split_of(text: str) -> str:
    """Return the split of a sentence. One sentence in ten belongs to `test`, and one in ten to `valid`."""
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
        read = partial(speak, text, voice, rate, pitch, pitch_range, seed=int(rng.integers(2**31)))
        yield Utterance(f"{split}-{seed}-{number:05d}", text, voice, read)
        if len(seen) == size:
            return


def _amplitude(dbfs: float) -> float:
    """Return the root mean square of a loudness, as a share of full scale."""
    return 10 ** (dbfs / 20)
