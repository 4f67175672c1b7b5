"""Check how well a model copes with slower and faster speech, and with lower and higher voices.

    python benchmarks/check_voices.py MODEL SPLIT [--tempo 0.85 0.92 1.1 1.2] [--pitch 0.85 0.92 1.08 1.15] [--batch 16]

Printed are the word error rates, by greedy search, of the split as it is, and at each tempo and pitch. If a change has
fewer errors than none, the split's speakers lie outside the voices of training: faster ones if a lower tempo helps,
higher ones if a lower pitch does. Then widen `augment.tempo_max` or `augment.pitch_max`. Take a development split.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

import rnnt
from rnnt.augment import Augmentation
from rnnt.config import AugmentConfig
from rnnt.dataset import Dataset
from rnnt.error_rate import ErrorRate, Pair, word_error_rate
from rnnt.loader import collate
from rnnt.recognizer import Recognizer
from rnnt.sampler import batches_by_length


def changed(tempo: float, pitch: float) -> AugmentConfig:
    """Return the settings that change every utterance by these factors."""
    return AugmentConfig(tempo_min=tempo, tempo_max=tempo, pitch_min=pitch, pitch_max=pitch)


def decode(recognizer: Recognizer, dataset: Dataset, config: AugmentConfig, batch: int) -> Iterator[Pair]:
    """Yield the texts of all utterances, said and found, with the changes of `config`."""
    for indices in batches_by_length(dataset.lengths, batch, 1 << 40):
        utterances = [dataset[index] for index in indices]
        inputs = collate([x.input for x in utterances], [[]] * len(indices), [x.id for x in utterances])
        inputs = inputs.to(recognizer.device)
        augmentation = Augmentation(config, len(indices), torch.Generator(recognizer.device))
        with recognizer.inference():
            features, lengths = recognizer.features(inputs.inputs, inputs.input_lengths, augmentation)
            found = recognizer.decode(inputs, *recognizer.model.encoder(features, lengths))
        for utterance, best in zip(utterances, found):
            yield Pair(utterance.id, utterance.text, recognizer.tokenizer.decode(best.tokens))


def check(
    recognizer: Recognizer, dataset: Dataset, tempi: list[float], pitches: list[float], batch: int
) -> dict[tuple[float, float], ErrorRate]:
    """Return the error rate at each pair of a tempo and a pitch, one of which is 1."""
    changes = [(1.0, 1.0), *((tempo, 1.0) for tempo in tempi), *((1.0, pitch) for pitch in pitches)]
    return {change: word_error_rate(list(decode(recognizer, dataset, changed(*change), batch))) for change in changes}


def main() -> None:
    """Print the error rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("split", type=Path)
    parser.add_argument("--tempo", type=float, nargs="*", default=[0.85, 0.92, 1.1, 1.2])
    parser.add_argument("--pitch", type=float, nargs="*", default=[0.85, 0.92, 1.08, 1.15])
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    found = check(rnnt.load(options.model), Dataset(options.split), options.tempo, options.pitch, options.batch)
    for (tempo, pitch), rate in found.items():
        print(f"tempo {tempo:4g}, pitch {pitch:4g}: WER {100 * rate.rate:.2f} %")


if __name__ == "__main__":
    main()
