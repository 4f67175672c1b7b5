"""Measure the alignment of a known text with a long recording: errors of times, wrong words found, seconds and memory.

    python benchmarks/bench_align.py RUN --digits RECORDINGS [--calibrate SPLIT] [--minutes 10] [--save]
    python benchmarks/bench_align.py --preset small [--minutes 60] [--save]

--digits joins utterances of the test split of the corpus of digits, whose times are known, with pauses of 0.2 to 3 s.
It aligns them with the right text, and with one in which a tenth of the words was changed, one more tenth left out, and
one more tenth added. "found" is the share of the changed and added words that the confidence marks, and "false" the
share of the right words that it marks.

--preset takes a model with random weights. Its first text is what greedy search finds, changed in the same way; blank
is weighted so that this has at most 14 symbols a second. "other text" is random, has 14 symbols a second, and no
anchors: the slowest case. Memory is the peak of the process, of which Python and torch take some 300 MiB.
"""

import argparse
import random
import time
from pathlib import Path

import memory
import numpy as np
import torch
from bench_times import joined_digits
from results import append_rows

import rnnt
from rnnt.background import noise_floor, noise_like
from rnnt.calibrator import calibrate
from rnnt.dataset import Dataset
from rnnt.formats import UNSURE
from rnnt.recognizer import Recognizer
from rnnt.settings import load_config
from rnnt.text_alignment import hear
from rnnt.tokenizer import Symbols
from rnnt.windows import encode_windows

RATE = 14.0  # symbols a second, of a model that spells
LETTERS = " 'abcdefghijklmnopqrstuvwxyz"


def joined(recordings: Path, minutes: float, rate: int) -> tuple[np.ndarray, list[str], list[tuple[float, float]]]:
    """Samples of a long recording, and its words with their start and end."""
    rng = np.random.default_rng(0)
    parts, words, bounds, length = [], [], [], 0
    for samples, text, times in joined_digits(recordings, max(round(8 * minutes), 1), rate):
        level = noise_floor(samples, rate // 100)
        pause = noise_like(level, round(rate * rng.uniform(0.2, 3.0)), rng).astype(np.int16)
        start = (length + len(pause)) / rate
        parts += [pause, samples]
        length += len(pause) + len(samples)
        words += text.split()
        bounds += [(start + first, start + last) for first, last in times]
    return np.concatenate(parts), words, bounds


def spoilt(words: list[str], share: float) -> tuple[list[str], list[int | None]]:
    """Words of which a share was changed, another left out and another added; and the place of each right one."""
    rng = random.Random(0)
    others = sorted(set(words))
    text, places = [], []
    for place, word in enumerate(words):
        chance = rng.random() / share
        if chance < 1:
            text.append(rng.choice([other for other in others if other != word]))
            places.append(None)
        elif chance >= 2:
            text.append(word)
            places.append(place)
        if 2 <= chance < 3:
            text.append(rng.choice(others))
            places.append(None)
    return text, places


def timed(recognizer: Recognizer, samples: np.ndarray, text: str) -> tuple[rnnt.Transcript, dict]:
    """The transcript, and what it took."""
    device = torch.device("cpu")
    memory.reset_peak(device)
    start = time.perf_counter()
    transcript = recognizer.align(samples, text)
    took = time.perf_counter() - start
    return transcript, {
        "minutes": transcript.seconds / 60, "words": len(transcript.words), "symbols": len(transcript.tokens),
        "took_s": took, "peak_mib": memory.peak(device),
    }  # fmt: skip


def digit_rows(recognizer: Recognizer, recordings: Path, minutes: float) -> list[dict]:
    """A row for the right text, and one for a text with mistakes."""
    samples, words, bounds = joined(recordings, minutes, recognizer.config.features.sample_rate)
    rows = []
    for name, (text, places) in {"right text": spoilt(words, 1e-9), "three tenths wrong": spoilt(words, 0.1)}.items():
        transcript, cost = timed(recognizer, samples, " ".join(text))
        right = [(word, bounds[place]) for word, place in zip(transcript.words, places) if place is not None]
        wrong = [word for word, place in zip(transcript.words, places) if place is None]
        starts = 1000 * np.abs([word.start - start for word, (start, _) in right])
        ends = 1000 * np.abs([word.end - end for word, (_, end) in right])
        rows.append(
            {
                "measured": name, **cost,
                "start_mean_ms": starts.mean(), "start_95_ms": np.quantile(starts, 0.95),
                "end_mean_ms": ends.mean(), "end_95_ms": np.quantile(ends, 0.95),
                "found": np.mean([word.confidence < UNSURE for word in wrong]) if wrong else float("nan"),
                "false": np.mean([word.confidence < UNSURE for word, _ in right]),
            }
        )  # fmt: skip
    return rows


def random_model(preset: str) -> Recognizer:
    """A model of a preset with random weights, whose symbols are letters."""
    config = load_config(preset, ["tokenizer.kind=characters"])
    torch.manual_seed(0)
    recognizer = Recognizer(config, Symbols("characters", list(LETTERS))).eval()
    with torch.no_grad():
        for layer in (recognizer.model.joint.encoder, recognizer.model.joint.predictor, recognizer.model.joint.output):
            layer.weight.mul_(4)
    return recognizer


def noise(minutes: float, rate: int) -> np.ndarray:
    """Noise whose level changes ten times a second, int16."""
    rng = np.random.default_rng(0)
    samples = np.empty(round(60 * minutes * rate), np.int16)
    for start in range(0, len(samples), 60 * rate):
        size = min(60 * rate, len(samples) - start)
        level = np.repeat(rng.random(size // (rate // 10) + 1) ** 2, rate // 10)[:size]
        samples[start : start + size] = (6000 * level * rng.standard_normal(size)).clip(-32768, 32767)
    return samples


def weigh_blank(recognizer: Recognizer, samples: np.ndarray) -> None:
    """Raise the bias of blank until the model emits at most `RATE` symbols a second."""
    bias, low, high = recognizer.model.joint.output.bias, -1000.0, 1000.0
    seconds = len(samples) / recognizer.config.features.sample_rate
    with recognizer.inference():
        encoder_1TD = encode_windows(recognizer, samples)
        for _ in range(20):
            bias[-1] = (low + high) / 2
            many = len(hear(recognizer, encoder_1TD)[0]) > RATE * seconds
            low, high = ((low + high) / 2, high) if many else (low, (low + high) / 2)
        bias[-1] = high


def preset_rows(preset: str, minutes: float) -> list[dict]:
    """A row for a text that is mostly what the model finds, and one for a text that has no word in common with it."""
    recognizer = random_model(preset)
    rate = recognizer.config.features.sample_rate
    samples = noise(minutes, rate)
    weigh_blank(recognizer, samples[: 30 * rate])
    with recognizer.inference():
        tokens, _ = hear(recognizer, encode_windows(recognizer, samples))
    heard = recognizer.tokenizer.decode(tokens).split()
    text, _ = spoilt(heard, 0.1)
    rng = random.Random(1)
    other = "".join(rng.choices(LETTERS.replace("'", "   "), k=round(60 * RATE * minutes)))
    return [
        {"measured": name, "preset": preset, **timed(recognizer, samples, each)[1]}
        for name, each in {"text": " ".join(text), "other text": other}.items()
    ]


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a run or a model")
    parser.add_argument("--digits", type=Path, metavar="RECORDINGS")
    parser.add_argument("--calibrate", type=Path, metavar="SPLIT", help="by default the model's own calibration")
    parser.add_argument("--preset")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--save", action="store_true", help="append the rows to results/align.csv")
    args = parser.parse_args()
    rows = []
    if args.model:
        recognizer = rnnt.load(args.model)
        if args.calibrate:
            recognizer.calibration = calibrate(recognizer, Dataset(args.calibrate), trained_on=True)
        rows += digit_rows(recognizer, args.digits, args.minutes)
    if args.preset:
        rows += preset_rows(args.preset, args.minutes)
    for row in rows:
        shown = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
        print("  ".join(shown))
    if args.save:
        print("saved in", append_rows("align", rows))


if __name__ == "__main__":
    main()
