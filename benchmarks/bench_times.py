"""Measure the times and confidences of words: against known ones, and what they cost.

    python benchmarks/bench_times.py RUN --digits RECORDINGS [--calibrate SPLIT [--trained-on]] [--save]
    python benchmarks/bench_times.py RUN --synthetic [--calibrate SPLIT] [--confidence SPLIT] [--save]
    python benchmarks/bench_times.py --cost PRESET [--save]

The times are known for digits that are joined from recordings of single ones, of which only the test recordings are
used, and for the synthetic corpus, in which espeak-ng says when each word begins and ends. Only utterances whose text
is right count. The rows "emission" are the frames of greedy search, "emission, less median" the same after the median
error of all words has been subtracted. --confidence measures the expected calibration error on a prepared split.

--cost times the steps of transcribing a batch. Its model has random weights that emit symbols as in bench_decoding.
They are words of five characters.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bench_decoding import RATE, alternate, frames, speak
from results import append_rows

import rnnt
from rnnt.audio import read_audio
from rnnt.calibration import Calibration, calibration_error
from rnnt.calibrator import calibrate, decode_aligned, scored_words
from rnnt.corpora import digits, synthetic
from rnnt.dataset import Dataset
from rnnt.loader import collate
from rnnt.recognizer import Recognizer
from rnnt.settings import load_config
from rnnt.sounds import STATES, Sounds, described_width
from rnnt.tokenizer import train_tokenizer
from rnnt.transcript import Transcript
from rnnt.transcription import make_transcript
from rnnt.word_times import align_hypotheses, spoken_audio, with_words

Known = tuple[np.ndarray, str, list[tuple[float, float]]]  # samples, text, and start and end of each word


def joined_digits(recordings: Path, count: int, sample_rate: int) -> list[Known]:
    """Utterances of the test split of the corpus of digits."""
    found = []
    for utterance in digits.splits(recordings, train_utterances=1, test_utterances=count)["test"].utterances:
        paths, pauses, _ = utterance.read.args
        time, bounds = 0.0, []
        for pause, path in zip(pauses, paths):
            start = time + pause
            time = start + len(read_audio(path, sample_rate)) / sample_rate
            bounds.append((start, time))
        found.append((utterance.read(sample_rate), utterance.text, bounds))
    return found


def synthetic_commands(count: int, sample_rate: int) -> list[Known]:
    """Utterances of the test split of the synthetic corpus, without those of which the engine joins words."""
    found = []
    for utterance in synthetic.splits(test_utterances=count)["test"].utterances:
        samples, words = synthetic.speak_words(*utterance.read.args, sample_rate, utterance.read.keywords["seed"])
        if [word for word, _, _ in words] == utterance.text.split():
            found.append((samples, utterance.text, [(start, end) for _, start, end in words]))
    return found


def errors(recognizer: Recognizer, known: list[Known]) -> tuple[dict[str, np.ndarray], int]:
    """The errors of starts and ends in seconds (words, 2) by each method, and the number of utterances that count."""
    found: dict[str, list[tuple[float, float]]] = {"words": [], "emission": []}
    right = 0
    for transcript, (_, text, bounds) in zip(recognizer.transcribe([samples for samples, _, _ in known]), known):
        if transcript.text != text:
            continue
        right += 1
        for word, (first, end), (start, stop) in zip(transcript.words, _spans(recognizer, transcript), bounds):
            found["words"].append((word.start - start, word.end - stop))
            found["emission"].append((transcript.times[first] - start, transcript.times[end - 1] - stop))
    result = {method: np.array(values) for method, values in found.items()}
    result["emission, less median"] = result["emission"] - np.median(result["emission"], axis=0)
    return result, right


def _spans(recognizer: Recognizer, transcript: Transcript) -> list[tuple[int, int]]:
    return recognizer.tokenizer.word_spans(transcript.tokens)


def time_rows(recognizer: Recognizer, known: list[Known], corpus: str) -> list[dict]:
    """A row for each method."""
    found, right = errors(recognizer, known)
    rows = []
    for method, error in found.items():
        row: dict = {"measured": method, "corpus": corpus, "utterances": right, "words": len(error)}
        for name, values in zip(("start", "end"), 1000 * error.T):
            row |= {
                f"{name}_mean_ms": np.abs(values).mean(),
                f"{name}_95_ms": np.quantile(np.abs(values), 0.95),
                f"{name}_median_ms": float(np.median(values)),
            }
        rows.append(row)
    return rows


def confidence_row(recognizer: Recognizer, split: Path) -> dict:
    """How well confidences are calibrated, and how well they tell right words from wrong ones."""
    confidences, correct = map(
        np.array, scored_words(recognizer, recognizer.calibration, list(decode_aligned(recognizer, Dataset(split))))
    )
    right, wrong = confidences[correct], confidences[~correct]
    above = [float((right > c).mean() + 0.5 * (right == c).mean()) for c in wrong]
    return {
        "measured": "confidence", "corpus": f"{split.parent.name}/{split.name}", "words": len(correct),
        "share_right": float(correct.mean()), "mean_confidence": float(confidences.mean()),
        "ece": calibration_error(confidences, correct), "area_under_roc": float(np.mean(above)) if above else 1.0,
        "temperature": recognizer.calibration.temperature,
    }  # fmt: skip


def random_sounds(characters: str, mels: int) -> Sounds:
    """Sounds of characters that find words at random."""
    states = 1 + STATES * (len(characters) + 1)
    weights = 0.1 * np.random.default_rng(0).standard_normal((states, described_width(mels)))
    stay = np.full(states, 0.6, np.float32)
    return Sounds(characters, weights.astype(np.float32), np.zeros(states, np.float32), stay)


def cost_rows(preset: str, batch: int, seconds: float, repeats: int) -> list[dict]:
    """A row for each step of transcribing a batch."""
    config = load_config(preset, ["tokenizer.kind=words"])
    torch.manual_seed(0)
    tokenizer = train_tokenizer([" ".join(f"w{i:04}" for i in range(config.tokenizer.size))], config.tokenizer)
    recognizer = Recognizer(config, tokenizer).eval()
    recognizer.calibration = Calibration(sounds=random_sounds("0123456789w", config.features.mels))
    speak(recognizer.model)
    rate = config.features.sample_rate
    rng = np.random.default_rng(0)
    audio = [(2000 * rng.standard_normal(round(seconds * rate))).astype(np.int16) for _ in range(batch)]
    inputs = collate(audio, [[]] * batch, [""] * batch)
    with recognizer.inference():
        features_BTF, _ = recognizer.features(inputs.inputs, inputs.input_lengths)
        _, lengths = recognizer.encode(inputs)
        encoder_BTD = frames(batch, int(lengths[0]), round(seconds * RATE), recognizer.model.encoder.width, "cpu")
        hypotheses = recognizer.decode(inputs, encoder_BTD, lengths)
        alignments = align_hypotheses(recognizer, hypotheses, encoder_BTD, lengths)
        transcripts = [make_transcript(recognizer, each, 0, len(samples)) for each, samples in zip(hypotheses, audio)]
        times = alternate(
            {
                "features and encoder": lambda: recognizer.encode(inputs),
                "greedy": lambda: recognizer.decode(inputs, encoder_BTD, lengths),
                "alignment": lambda: align_hypotheses(recognizer, hypotheses, encoder_BTD, lengths),
                "words": lambda: with_words(
                    recognizer, transcripts, alignments, spoken_audio(recognizer, features_BTF, audio, [0] * batch)
                ),
            },
            repeats,
            "cpu",
        )
    whole = sum(median(x) for x in times.values())
    return [
        {
            "measured": name, "preset": preset, "batch": batch, "seconds": seconds, "repeats": repeats,
            "median_ms": 1000 * median(x), "min_ms": 1000 * min(x), "max_ms": 1000 * max(x),
            "share": median(x) / whole,
        }
        for name, x in times.items()
    ]  # fmt: skip


def show(rows: Iterable[dict]) -> None:
    """Print rows, with the names of their columns."""
    for row in rows:
        print(
            "  ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a run or a model")
    parser.add_argument("--digits", type=Path, metavar="RECORDINGS")
    parser.add_argument("--synthetic", action="store_true")
    parser.add_argument("--utterances", type=int, default=300)
    parser.add_argument("--calibrate", type=Path, metavar="SPLIT", help="by default the model's own calibration")
    parser.add_argument("--trained-on", action="store_true", help="the model was trained on the split of --calibrate")
    parser.add_argument("--confidence", type=Path, metavar="SPLIT")
    parser.add_argument("--cost", metavar="PRESET")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="append the rows to results/times.csv")
    args = parser.parse_args()
    rows: list[dict] = []
    if args.model:
        recognizer = rnnt.load(args.model)
        rate = recognizer.config.features.sample_rate
        if args.calibrate:
            recognizer.calibration = calibrate(recognizer, Dataset(args.calibrate), args.trained_on)
        if args.digits:
            rows += time_rows(recognizer, joined_digits(args.digits, args.utterances, rate), "digits")
        if args.synthetic:
            rows += time_rows(recognizer, synthetic_commands(args.utterances, rate), "synthetic")
        if args.confidence:
            rows.append(confidence_row(recognizer, args.confidence))
    if args.cost:
        rows += cost_rows(args.cost, args.batch, args.seconds, args.repeats)
    show(rows)
    if args.save:
        print("saved in", append_rows("times", rows))


if __name__ == "__main__":
    main()
