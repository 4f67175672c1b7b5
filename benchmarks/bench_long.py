"""An hour's recording against its utterances one by one: word error rate and peak memory.

    python benchmarks/bench_long.py MODEL SPLIT [--minutes 10 60] [--whole 10] [--seed 0] [--save]

The recording, a FLAC file, holds the utterances of a split in random order, each after a pause of 0.2 to 3 seconds, and
the noise of a room throughout. For each length, the first row has the utterances one by one, without the noise; the
second has them cut from the recording at their true bounds; the third has the recording as `transcribe_files` cuts it.
The last row has a recording of `--whole` minutes that is decoded at once. Each recording is transcribed in a separate
process, whose peak memory includes the program and the model. The same seed gives the same recordings.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from memory import status_kib
from results import append_rows

from rnnt.background import stationary_noise
from rnnt.dataset import Dataset
from rnnt.error_rate import Pair, word_error_rate
from rnnt.loader import collate
from rnnt.recognizer import Recognizer, load

PAUSE_SECONDS = (0.2, 3.0)
NOISE_DBFS = -65.0
NOISE_SAMPLES = 2**22  # which are repeated: a Fourier transform of an hour takes long
BATCH = 16


def join(dataset: Dataset, seconds: float, seed: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return a recording (N,), int16, and the index and first sample of each of its utterances."""
    rng = np.random.default_rng(seed)
    lengths = [len(utterance.input) for utterance in dataset]
    places, end = [], 0
    while end < seconds * dataset.sample_rate:
        for index in rng.permutation(len(dataset)).tolist():
            start = end + round(rng.uniform(*PAUSE_SECONDS) * dataset.sample_rate)
            places.append((index, start))
            end = start + lengths[index]
            if end >= seconds * dataset.sample_rate:
                break
    noise = np.resize(stationary_noise(NOISE_SAMPLES, NOISE_DBFS, rng), end)
    for index, start in places:
        noise[start : start + lengths[index]] += dataset.read(index)[0].input
    return np.clip(np.rint(noise), -32768, 32767).astype(np.int16), places


def error_rate(texts: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return the word error rate in percent of texts against others, each joined to one."""
    return 100 * word_error_rate([Pair("recording", " ".join(texts), " ".join(hypotheses))]).rate


def whole(recognizer: Recognizer, samples: np.ndarray) -> str:
    """Transcribe a recording as one segment."""
    with recognizer.inference():
        batch = collate([samples], [[]], [""])
        (hypothesis,) = recognizer.decode(batch, *recognizer.encode(batch))
    return recognizer.tokenizer.decode(hypothesis.tokens)


def transcribe_alone(model: str, path: Path, at_once: bool) -> None:
    """Transcribe a file, and print seconds, peak memory in MiB, segments, seconds left out, and the text."""
    recognizer = load(model)
    begin = time.perf_counter()
    if at_once:
        text, segments, left_out = whole(recognizer, soundfile.read(path, dtype="int16")[0]), 1, 0.0
    else:
        ((_, transcript),) = recognizer.transcribe_files([path], BATCH)
        text, segments = transcript.text, len(transcript.segments)
        left_out = sum(end - start for start, end in transcript.left_out)
    seconds = time.perf_counter() - begin
    print(seconds, status_kib("VmHWM") / 1024, segments, left_out, text, sep="\t")


def measure(model: str, data: Path, minutes: Sequence[float], at_once: float, seed: int) -> list[dict[str, object]]:
    """Return the rows of the table."""
    dataset, recognizer = Dataset(data), load(model)
    texts = [dataset.text(i) for i in range(len(dataset))]
    alone = [x.text for x in recognizer.transcribe([utterance.input for utterance in dataset], BATCH)]
    rows = []

    def add(case: str, places: Sequence[tuple[int, int]], hypotheses: Sequence[str], **values: object) -> None:
        rate = error_rate([texts[i] for i, _ in places], hypotheses)
        names = {"model": Path(model).name, "data": f"{data.parent.name}/{data.name}"}
        rows.append({**names, "seed": seed, "case": case, "wer": rate, **values})
        print(*(f"{value:.2f}" if isinstance(value, float) else value for value in rows[-1].values()), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for length in [*minutes, *([at_once] if at_once else [])]:
            samples, places = join(dataset, 60 * length, seed)
            path, kind = Path(folder) / "recording.flac", "at once" if len(rows) == 3 * len(minutes) else "in segments"
            soundfile.write(path, samples, dataset.sample_rate)
            if kind == "in segments":
                parts = [samples[start : start + len(dataset.read(i)[0].input)] for i, start in places]
                add(f"{length:g} min, one by one", places, [alone[i] for i, _ in places])
                add(
                    f"{length:g} min, at the true bounds",
                    places,
                    [x.text for x in recognizer.transcribe(parts, BATCH)],
                )
            command = [sys.executable, __file__, model, str(path), "--alone", *(["--whole", "1"] * (kind == "at once"))]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.rstrip("\n")
            seconds, peak, segments, left_out, text = answer.split("\t")
            values = {"seconds": float(seconds), "peak_mib": float(peak), "segments": int(segments)}
            share = float(left_out) * dataset.sample_rate / len(samples)
            add(f"{length:g} min, {kind}", places, [text], **values, left_out=share)
    return rows


def main() -> None:
    """Print the table of a model on a split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10, 60])
    parser.add_argument("--whole", type=float, default=0.0, help="minutes that are decoded at once; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="transcribe the file DATA and print its row")
    parser.add_argument("--save", action="store_true", help="append the rows to benchmarks/results/long.csv")
    arguments = parser.parse_args()
    if arguments.alone:
        transcribe_alone(arguments.model, arguments.data, arguments.whole > 0)
        return
    rows = measure(arguments.model, arguments.data, arguments.minutes, arguments.whole, arguments.seed)
    if arguments.save:
        append_rows("long", rows)


if __name__ == "__main__":
    main()
