"""Write when each word of a prepared split was said, for `rnnt evaluate --live`, which then need not align the texts.

    python benchmarks/write_times.py DATA/test --synthetic
    python benchmarks/write_times.py DATA/test --digits RECORDINGS

The split is one of `rnnt prepare synthetic` or of `rnnt prepare digits RECORDINGS`, with any name and the corpus's own
seed. Ends of synthetic words are those that espeak-ng gives. Utterances in which it joins words are left out.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from rnnt.audio import read_audio
from rnnt.corpora import Utterance, digits, synthetic
from rnnt.dataset import Dataset
from rnnt.files import write_file
from rnnt.known_times import TIMES

Times = list[tuple[str, float, float]]


def digit_times(utterance: Utterance, sample_rate: int) -> Times:
    """Return each digit of an utterance, and the start and end of its recording."""
    paths, pauses, _ = utterance.read.args
    end, found = 0.0, []
    for pause, path, word in zip(pauses, paths, utterance.text.split()):
        start = end + pause
        end = start + len(read_audio(path, sample_rate)) / sample_rate
        found.append((word, start, end))
    return found


def synthetic_times(utterance: Utterance, sample_rate: int) -> Times:
    """Return each word of an utterance with its start and end; nothing if the engine joins words."""
    words = synthetic.speak_words(*utterance.read.args, sample_rate, utterance.read.keywords["seed"])[1]
    return words if [word for word, _, _ in words] == utterance.text.split() else []


def lines(split: Path, recordings: Path | None) -> Iterator[dict]:
    """Yield the times of each utterance of a prepared split that the corpus still gives with the same text."""
    dataset = Dataset(split)
    texts = {dataset.id(index): dataset.text(index) for index in range(len(dataset))}
    sizes = {"train": "train_utterances", "valid": "valid_utterances", "test": "test_utterances"}
    size = {option: len(dataset) if name == split.resolve().name else 1 for name, option in sizes.items()}
    if recordings is not None:
        del size["valid_utterances"]
    splits = synthetic.splits(**size) if recordings is None else digits.splits(recordings, **size)
    for utterance in splits[split.resolve().name].utterances:
        if texts.get(utterance.id) == utterance.text:
            find = synthetic_times if recordings is None else digit_times
            yield {"id": utterance.id, "times": find(utterance, dataset.sample_rate)}


def main() -> None:
    """Write the file of times into the split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    corpus = parser.add_mutually_exclusive_group(required=True)
    corpus.add_argument("--synthetic", action="store_true")
    corpus.add_argument("--digits", type=Path, metavar="RECORDINGS")
    args = parser.parse_args()
    found = [line for line in lines(args.split, args.digits) if line["times"]]
    write_file(args.split / TIMES, "".join(json.dumps(line) + "\n" for line in found))
    print(f"{args.split / TIMES}: times of {len(found)} utterances")


if __name__ == "__main__":
    main()
