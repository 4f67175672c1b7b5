"""The data of a run: which splits it reads, which of their utterances it trains on, and their batches."""

import fnmatch
from collections.abc import Iterator
from functools import partial
from itertools import compress
from pathlib import Path

import numpy as np
import torch

from rnnt.alphabet import Alphabet
from rnnt.config import Config, DataConfig
from rnnt.dataset import Dataset
from rnnt.loader import Batch, Loader, TooMuchTextError, encode_text, most_symbols
from rnnt.sampler import Sampler
from rnnt.scene import Surroundings
from rnnt.splice import splice
from rnnt.symbol_input import Input
from rnnt.tokenizer import Tokenizer
from rnnt.training.density import dense_texts
from rnnt.training.distributed import Processes
from rnnt.training.position import Position
from rnnt.training.share import Share, own_shares
from rnnt.tree import distinct_folders


def split_folders(data: Path, patterns: list[str]) -> list[Path]:
    """Return the folders of the prepared splits that match, in the order of the patterns.

    patterns: names of splits in `data`, or shell patterns such as train-*. One may begin with another folder, relative
    to `data` or absolute: ../more/train-*. A folder to which several paths lead counts once. Raises ValueError, listing
    the splits that exist, if a pattern matches nothing.
    """
    chosen: list[Path] = []
    for pattern in patterns:
        folder, pattern = (data / pattern).parent, Path(pattern).name
        there = sorted(path.parent.name for path in folder.glob("[!.]*/dataset.json"))
        found = fnmatch.filter(there, pattern)
        if not found:
            have = f"it holds {', '.join(there)}" if there else "it holds no prepared split; run `rnnt prepare` first"
            raise ValueError(f"no split {pattern} in {folder}; {have}")
        chosen += [folder / name for name in found]
    return distinct_folders(chosen)


def open_splits(data: Path, patterns: list[str], config: Config) -> Dataset:
    """Open the splits of `split_folders` as one dataset.

    Raises ValueError if they hold another kind of input than the settings say, or have another sample rate.
    """
    dataset = Dataset(*split_folders(data, patterns))
    sample_rate = config.features.sample_rate
    if dataset.input != config.input:
        raise ValueError(
            f"{data} holds {dataset.input}, and these settings are for {config.input}; take other data, or "
            f"settings with input={dataset.input}"
        )
    if dataset.input == "audio" and dataset.sample_rate != sample_rate:
        raise ValueError(
            f"{data} is at {dataset.sample_rate} Hz, the model at {sample_rate} Hz; set features.sample_rate="
            f"{dataset.sample_rate}, or prepare the data again with --sample-rate {sample_rate}"
        )
    return dataset


class LeftOut:
    """The utterances of a dataset that a run does not train on. Iterating yields their ids and the reasons, in order.

    Left out are utterances that are shorter than data.min_seconds or longer than data.max_seconds (data.max_symbols if
    they are of symbols), those with text that the tokenizer cannot encode, and those with far too much text for the
    length of their input. indices: of all of them.
    """

    def __init__(self, loader: Loader, data: DataConfig):
        self._dataset = loader.dataset
        symbols = loader.dataset.input == "symbols"
        self._size = "{:.0f} symbols" if symbols else "{:.3f} s"
        self._names = ("", "data.max_symbols") if symbols else ("data.min_seconds", "data.max_seconds")
        self._limits = (1, data.max_symbols) if symbols else (data.min_seconds, data.max_seconds)
        lengths, rate = loader.dataset.lengths, loader.dataset.sample_rate or 1
        self._outside = (lengths < self._limits[0] * rate) | (lengths > self._limits[1] * rate)
        places = np.setdiff1d(np.arange(len(loader.dataset)), loader.usable)
        self._unknown = {int(i): reason for i, (_, reason) in zip(places, loader.unusable, strict=True)}
        self._long = _too_much_text(loader)
        chosen = self._outside.copy()
        chosen[[*self._unknown, *self._long]] = True
        self.indices: np.ndarray = np.flatnonzero(chosen)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        sizes = self._dataset.sizes
        for i in map(int, self.indices):
            reason = self._unknown.get(i) or self._long.get(i) or ""
            if self._outside[i]:
                long = int(sizes[i] >= self._limits[0])
                than = f"{'more' if long else 'less'} than {self._names[long]}={self._limits[long]}"
                reason = f"it has {self._size.format(sizes[i])}, {than}"
            yield self._dataset.id(i), reason

    def __str__(self) -> str:
        """One line; empty if there are none."""
        if not len(self):
            return ""
        count, (low, high) = int(self._outside.sum()), self._limits
        unit, much = ("symbols", "belongs to it") if self._names[0] == "" else ("s", "can be spoken")
        parts = [f"{count} of {len(self._outside)} utterances are not within {low}-{high} {unit}"]
        texts = {"text that the tokenizer lacks": self._unknown, f"more text than {much}": self._long}
        for kind, found in texts.items():
            if found:
                i, reason = next(iter(found.items()))
                parts.append(f"{len(found)} hold {kind} (first {self._dataset.id(i)}: {reason})")
        return f"left out of training: {'; '.join(parts)}"


def _too_much_text(loader: Loader) -> dict[int, str]:
    """The utterances with far more symbols than belong to the length of their input, with the reasons."""
    found = {}
    sizes = loader.dataset.sizes
    limits = memoryview(most_symbols(sizes))  # yields its numbers one by one, where a list would hold all of them
    for i, (text, limit) in enumerate(zip(loader.dataset.texts(), limits)):
        if len(text) >= limit:  # there are no more symbols than characters, but SentencePiece may add one
            try:
                encode_text(loader.tokenizer, text, float(sizes[i]), loader.dataset.input)
            except TooMuchTextError as error:
                found[i] = str(error)
            except ValueError:
                pass  # the tokenizer lacks a symbol, as the loader has found
    return found


class TrainingData:
    """The utterances that a run trains on, and their batches.

    usable: indices of the utterances in `dataset`; omitted: the others; left_out: a line about these, "" if there are
    none. Raises ValueError if there is no utterance to train on.
    """

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: Tokenizer,
        config: Config,
        device: torch.device,
        alphabet: Alphabet | None = None,
        surroundings: Surroundings | None = None,
    ):
        self.dataset = dataset
        no_space = tokenizer.kind == "characters" and not tokenizer.covers(" ")
        change = partial(
            splice, config=config.augment, sample_rate=dataset.sample_rate,
            longest=config.data.max_seconds * dataset.sample_rate, separator="" if no_space else " ",
            noise=surroundings.noise if surroundings else None,
        )  # fmt: skip
        self.loader = Loader(
            dataset, tokenizer, device, config.features.trim_silence, splice=None if alphabet else change,
            alphabet=alphabet, surroundings=surroundings,
        )  # fmt: skip
        self.omitted = LeftOut(self.loader, config.data)
        self.left_out = str(self.omitted)
        self.usable = np.delete(np.arange(len(dataset), dtype=np.int32), self.omitted.indices)
        if len(self.usable) == 0:
            raise ValueError(f"no utterance to train on: {self.left_out}")
        train, rate = config.train, dataset.sample_rate
        self.sampler = Sampler(
            dataset.lengths, self.usable, train.batch, config.data.buckets, config.seed, train.curriculum_epochs,
            train.curriculum_seconds * rate, config.data.max_seconds * rate,
        )  # fmt: skip
        self._train, self._seed, self._augment = train, config.seed, config.augment

    def notes(self, features: Input, stride: int, listing: Path) -> list[str]:
        """Return lines about the utterances of which a run learns nothing, or not all it could.

        features, stride: those of the model and its encoder. listing: the file that lists the utterances left out.
        """
        found = [f"{self.left_out}; {listing} lists them"] if self.left_out else []
        if self._train.ctc_weight:
            lengths = self.dataset.lengths[self.usable]  # in the order of the texts
            found.append(dense_texts(self.texts(), lengths, self.loader.tokenizer, features, stride, self._augment))
        return [line for line in found if line]

    def texts(self) -> Iterator[str]:
        """Yield the texts of the utterances that the run trains on."""
        chosen = np.zeros(len(self.dataset), bool)
        chosen[self.usable] = True
        return compress(self.dataset.texts(), chosen)

    def total_steps(self) -> int:
        """Return the number of steps of the whole run: train.epochs, but at most train.steps if that is set."""
        steps = sum(self.sampler.steps(epoch) for epoch in range(self._train.epochs))
        return min(steps, self._train.steps or steps)

    def rest_of_epoch(
        self, position: Position, end: int, processes: Processes
    ) -> Iterator[tuple[int, list[tuple[Share, Batch]]]]:
        """Yield the batches from `position` to the end of its epoch or the run's step `end`.

        Each comes as its number of utterances, and the shares of this process with their tensors on the device.
        """
        batches = self.sampler.batches(position.epoch)
        todo = batches[position.batch : position.batch + end - position.step]
        split = partial(own_shares, accumulation=self._train.accumulation, processes=processes)
        # Seeded by position: a resumed run draws the numbers that an undisturbed one would have drawn.
        steps = enumerate(todo, position.step)
        seeds = ((self._seed, step, share.number) for step, batch in steps for share in split(batch))
        plan = (share.indices for batch in todo for share in split(batch))
        loaded = self.loader.batches(plan, seeds, spliced=position.epoch >= self._augment.splice_epoch)
        for batch in todo:
            yield len(batch), [(share, next(loaded)) for share in split(batch)]
