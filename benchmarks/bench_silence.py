"""How well a model copes with silence, noise and pauses around the words of a split.

    python benchmarks/bench_silence.py MODEL SPLIT [--limit 100] [--seed 0] [--device cuda] [--save]

The first table has the word error rate on the utterances as they are, with background or zeros added at both ends, and
joined into longer ones. The background of an utterance is made in two ways: its quietest 50 ms, repeated
back and forth, or Gaussian noise with the spectrum of its quietest frames. The second table counts the symbols that the
model writes for five seconds of sounds without words. The same seed gives the same numbers.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from results import append_rows

from rnnt.background import hum, noise_floor, noise_like, quietest_stretch, repeat_back_and_forth, stationary_noise
from rnnt.dataset import Dataset
from rnnt.error_rate import ErrorRate, Pair, word_error_rate
from rnnt.recognizer import Recognizer, load
from rnnt.shard import StoredUtterance

JOINED = 4  # utterances joined into one
SOUND_SECONDS = 5
FRAME_SECONDS = 0.016  # of the spectrum of a background
STRETCH_SECONDS = 0.05  # of a background that is repeated

Sound = Callable[[np.ndarray, int], np.ndarray]  # samples of an utterance, length -> int16 samples of this length


def zeros(samples: np.ndarray, length: int) -> np.ndarray:
    """Return digital silence."""
    return np.zeros(length, np.int16)


def repeated(sample_rate: int) -> Sound:
    """Return the function that repeats the quietest stretch of an utterance."""

    def make(samples: np.ndarray, length: int) -> np.ndarray:
        return repeat_back_and_forth(quietest_stretch(samples, round(STRETCH_SECONDS * sample_rate)), length)

    return make


def shaped(sample_rate: int, rng: np.random.Generator) -> Sound:
    """Return the function that makes noise with the spectrum of an utterance's quietest frames."""

    def make(samples: np.ndarray, length: int) -> np.ndarray:
        return _to_int16(noise_like(noise_floor(samples, round(FRAME_SECONDS * sample_rate)), length, rng))

    return make


def with_ends(utterance: StoredUtterance, length: int, sound: Sound) -> StoredUtterance:
    """Add `length` samples of a sound before and after an utterance."""
    samples = utterance.input
    parts = [sound(samples, length), samples, sound(samples, length)]
    return StoredUtterance(utterance.id, np.concatenate(parts), utterance.text, utterance.speaker)


def joined(utterances: Sequence[StoredUtterance], gap: int, sound: Sound) -> Iterator[StoredUtterance]:
    """Join every `JOINED` utterances, with a gap of `gap` samples of a sound before all but the first."""
    for start in range(0, len(utterances), JOINED):
        group = utterances[start : start + JOINED]
        parts = [group[0].input]
        for utterance in group[1:]:
            parts += [sound(utterance.input, gap), utterance.input]
        text = " ".join(utterance.text for utterance in group)
        yield StoredUtterance(group[0].id, np.concatenate(parts), text)


def conditions(utterances: list[StoredUtterance], rate: int, seed: int) -> Iterator[tuple[str, list[StoredUtterance]]]:
    """Yield the name of each condition and the utterances in it."""
    yield "as they are", utterances
    sounds = {
        "repeated background": repeated(rate),
        "noise like the background": shaped(rate, _rng(seed)),
        "zeros": zeros,
    }
    for name, sound in sounds.items():
        for seconds in (0.5, 1, 2):
            changed = [with_ends(utterance, round(seconds * rate), sound) for utterance in utterances]
            yield f"{seconds:g} s of {name} at both ends", changed
    yield f"{JOINED} joined, no gaps", list(joined(utterances, 0, zeros))
    for name, sound in sounds.items():
        yield f"{JOINED} joined, gaps of 0.5 s of {name}", list(joined(utterances, rate // 2, sound))


def sounds_without_words(rate: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the samples of each sound without words."""
    length = SOUND_SECONDS * rate
    yield "zeros", np.zeros(length, np.int16)
    for dbfs in range(-90, 0, 10):
        white = _rng(seed, 1).standard_normal(length) * 32768 * 10 ** (dbfs / 20)
        yield f"white noise, {dbfs} dBFS", _to_int16(white)
    for dbfs in (-70, -50, -30):
        for number in range(3):
            yield (
                f"colored noise {number}, {dbfs} dBFS",
                _to_int16(stationary_noise(length, dbfs, _rng(seed, 2, number))),
            )
    for hz in (50, 100):
        for dbfs in (-60, -40, -20):
            tone = np.sin(2 * np.pi * hz * np.arange(length) / rate) * np.sqrt(2) * 32768 * 10 ** (dbfs / 20)
            yield f"tone of {hz} Hz, {dbfs} dBFS", _to_int16(tone)
    for dbfs in (-60, -40, -20):
        yield f"hum, {dbfs} dBFS", _to_int16(hum(length, dbfs, rate, _rng(seed, 3)))


def measure_words(recognizer: Recognizer, utterances: list[StoredUtterance]) -> ErrorRate:
    """Transcribe utterances and return their word error rate."""
    transcripts = recognizer.transcribe([utterance.input for utterance in utterances])
    return word_error_rate([Pair(u.id, u.text, transcript.text) for u, transcript in zip(utterances, transcripts)])


def main() -> None:
    """Print both tables, and append them to the results if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--limit", type=int, default=None, help="use the first utterances alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    recognizer = load(options.model, options.device)
    dataset = Dataset(options.split)
    rate = dataset.sample_rate
    utterances = [dataset[i] for i in range(len(dataset))[: options.limit]]
    rows: list[dict[str, object]] = []
    for name, changed in conditions(utterances, rate, options.seed):
        result = measure_words(recognizer, changed)
        rows.append({"condition": name, "wer": 100 * result.rate})
        print(f"{name:58} {result}", flush=True)
    written = 0
    for name, samples in sounds_without_words(rate, options.seed):
        transcript = recognizer.transcribe([samples])[0]
        rows.append({"condition": name, "symbols": len(transcript.tokens)})
        written += len(transcript.tokens)
        if transcript.tokens:
            print(f"{name:58} {len(transcript.tokens):4} symbols: {transcript.text}", flush=True)
    print(f"{'symbols for sounds without words':58} {written:4}")
    if options.save:
        named = [
            {"model": options.model.name, "split": options.split.name, "seed": options.seed, **row} for row in rows
        ]
        print(f"appended to {append_rows('silence', named, options.device)}")


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _to_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


if __name__ == "__main__":
    main()
