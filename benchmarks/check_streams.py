"""Check on a whole split that streams have the symbols of offline decoding, and that no last word is lost.

    python benchmarks/check_streams.py MODEL SPLIT [--seed 0] [--batch 16]

Each utterance is a stream, in chunks of random lengths from one sample to two seconds, together with other streams that
are at other places. A second time it is truncated at the end of its last word, and nothing follows before the stream is
finished. The end is known if the split has times of words (utterances without them are left out of this), or else found
by alignment. "kept" counts the utterances in which the last word is
there as it is in the whole utterance's transcript.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import rnnt
from rnnt.dataset import Dataset
from rnnt.known_times import TIMES, read_times
from rnnt.live import accept_together, finish_together
from rnnt.loader import collate
from rnnt.recognizer import Recognizer
from rnnt.transcript import Transcript

MOST_SECONDS = 2.0  # of a chunk


def streamed(recognizer: Recognizer, inputs: Sequence[np.ndarray], rng: random.Random) -> list[Transcript]:
    """Return the transcripts of streams in random chunks, several of which advance at a time."""
    rate = recognizer.config.features.sample_rate
    streams, places = [recognizer.stream(rate) for _ in inputs], [0] * len(inputs)
    while rows := [row for row, samples in enumerate(inputs) if places[row] < len(samples)]:
        rows = rng.sample(rows, rng.randint(1, len(rows)))
        sizes = [round((MOST_SECONDS * rate) ** rng.random()) for _ in rows]  # as many short ones as long ones
        accept_together(
            [streams[row] for row in rows],
            [inputs[row][places[row] : places[row] + size] for row, size in zip(rows, sizes)],
        )
        for row, size in zip(rows, sizes):
            places[row] += size
    return finish_together(streams)


def offline(recognizer: Recognizer, inputs: Sequence[np.ndarray]) -> list[list[int]]:
    """Return the symbols of each utterance, decoded at once."""
    with recognizer.inference():
        batch = collate(list(inputs), [[]] * len(inputs), [""] * len(inputs)).to(recognizer.device)
        return [best.tokens for best in recognizer.decode(batch, *recognizer.encode(batch))]


def last_end(recognizer: Recognizer, samples: np.ndarray, text: str, times: tuple) -> int:
    """Return the number of samples until the end of the last word."""
    words = times or [(word.word, word.start, word.end) for word in recognizer.align(samples, text).words]
    return min(round(words[-1][2] * recognizer.config.features.sample_rate), len(samples))


def check(recognizer: Recognizer, split: Path, batch: int, seed: int) -> dict[str, int]:
    """Return the counts."""
    dataset, rng = Dataset(split), random.Random(seed)
    known = read_times(split) if (split / TIMES).is_file() else {}
    counts = dict.fromkeys(("utterances", "equal", "truncated", "equal, truncated", "last word right", "kept"), 0)
    for start in range(0, len(dataset), batch):
        utterances = [dataset[index] for index in range(start, min(start + batch, len(dataset)))]
        inputs = [utterance.input.copy() for utterance in utterances]
        whole = streamed(recognizer, inputs, rng)
        counts["utterances"] += len(inputs)
        counts["equal"] += sum(x.tokens == tokens for x, tokens in zip(whole, offline(recognizer, inputs)))
        if known:
            chosen = [row for row, utterance in enumerate(utterances) if utterance.id in known]
            utterances, inputs, whole = ([rows[row] for row in chosen] for rows in (utterances, inputs, whole))
        ends = [
            last_end(recognizer, samples, utterance.text, known.get(utterance.id, ()))
            for samples, utterance in zip(inputs, utterances)
        ]
        inputs = [samples[:end] for samples, end in zip(inputs, ends)]
        truncated = streamed(recognizer, inputs, rng)
        counts["truncated"] += len(inputs)
        counts["equal, truncated"] += sum(
            x.tokens == tokens for x, tokens in zip(truncated, offline(recognizer, inputs))
        )
        for utterance, long, short in zip(utterances, whole, truncated):
            lasts = [transcript.text.split()[-1:] for transcript in (long, short)]
            if lasts[0] == utterance.text.split()[-1:]:
                counts["last word right"] += 1
                counts["kept"] += lasts[0] == lasts[1]
                if lasts[0] != lasts[1]:
                    print(f"{utterance.id}: {long.text!r} becomes {short.text!r}")
    return counts


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("split", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    for name, count in check(rnnt.load(args.model), args.split, args.batch, args.seed).items():
        print(f"{name}: {count}")


if __name__ == "__main__":
    main()
