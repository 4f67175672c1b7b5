"""Batches of utterances, read ahead in the background."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
import torch

from rnnt.alphabet import Alphabet
from rnnt.dataset import Dataset
from rnnt.read_ahead import read_ahead
from rnnt.scene import Scene, Surroundings
from rnnt.shard import StoredUtterance
from rnnt.text import reason
from rnnt.tokenizer import LONGEST_SYMBOL, Tokenizer, UnknownSymbolError

# Symbols of a text for each second of its audio, or for each symbol of its input. Fast speech has 25 characters a
# second; the lattice of a text that some mistake gave to a short utterance would take all memory.
MOST_SYMBOLS = 100
_MOST = {"audio": "{:.2f} s of audio, more than {} a second", "symbols": "{:.0f} input symbols, more than {} for each"}
_LEAST_LIMIT = 10  # so that rounded times of very short utterances do not matter


class TooMuchTextError(ValueError):
    """Raised for a text with more symbols than belong to an input of its size."""


def most_symbols(size: float | np.ndarray) -> float | np.ndarray:
    """Return the largest number of symbols of a text whose input has this size, as in `Dataset.sizes`."""
    return np.maximum(MOST_SYMBOLS * size, _LEAST_LIMIT)


def encode_text(tokenizer: Tokenizer, text: str, size: float, input: str = "audio") -> list[int]:
    """Return the symbols of a text whose input, "audio" or "symbols", has this size, as in `Dataset.sizes`.

    Raises TooMuchTextError if they are too many for that size, and another ValueError if the tokenizer lacks one.
    """
    limit = most_symbols(size)
    symbols = tokenizer.encode(text) if len(text) <= LONGEST_SYMBOL * limit else None
    if symbols is None or len(symbols) > limit:
        found = f"{len(text)} characters" if symbols is None else f"{len(symbols)} symbols"
        raise TooMuchTextError(f"its text has {found} for {_MOST[input].format(size, MOST_SYMBOLS)}")
    return symbols


@dataclass(frozen=True)
class Batch:
    """Padded utterances.

    inputs: (B, N) int16 samples, or (B, S) int32 numbers of symbols, on the device that computes. The others stay on
    the host for the loss to check: input_lengths (B,), targets (B, U) int64, target_lengths (B,). ids: of the
    utterances. scene: the surroundings in which they are heard; None for none.
    """

    inputs: torch.Tensor
    input_lengths: torch.Tensor
    targets: torch.Tensor
    target_lengths: torch.Tensor
    ids: list[str]
    scene: Scene | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its inputs and its scene on a device."""
        scene = self.scene and self.scene.to(device)
        return replace(self, inputs=self.inputs.to(device, non_blocking=True), scene=scene)

    def heard(self) -> torch.Tensor:
        """Return the inputs, audio as it sounds in the scene: then it is float32."""
        return self.inputs if self.scene is None else self.scene.apply(self.inputs, self.input_lengths)

    def twice(self) -> "Batch":
        """Return a batch that holds all utterances, as they are heard, and then all of them again."""
        tensors = (self.heard(), self.input_lengths, self.targets, self.target_lengths)
        return Batch(*(torch.cat((x, x)) for x in tensors), self.ids * 2)


def collate(
    inputs: Sequence[np.ndarray],
    targets: Sequence[Sequence[int]],
    ids: Sequence[str],
    make: Callable[[tuple[int, int]], torch.Tensor] | None = None,
) -> Batch:
    """Pad inputs (N,) of one integer type, and targets, with zeros to their longest.

    make: gives the memory for the inputs, a tensor of the wanted shape and of their type; by default it is new.
    """
    lengths = torch.tensor([len(x) for x in inputs])
    shape = (len(inputs), int(lengths.max()))
    padded = torch.from_numpy(np.empty(shape, inputs[0].dtype)) if make is None else make(shape)
    _pad(padded, inputs)
    return Batch(padded, lengths, *pad_symbols(targets), list(ids))


def pad_symbols(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad lists of symbols, or of other whole numbers, with zeros to the longest. Return them (B, U), lengths (B,)."""
    lengths = torch.tensor([len(row) for row in rows])
    padded_BU = torch.empty(len(rows), int(lengths.max()), dtype=torch.int64)
    _pad(padded_BU, rows)
    return padded_BU, lengths


def _pad(padded: torch.Tensor, rows: Sequence[Sequence[int] | np.ndarray]) -> None:
    for place, row in zip(padded.numpy(), rows):
        place[: len(row)] = row
        place[len(row) :] = 0


class Recycler:
    """Reuses the memory of batches that are no longer referenced.

    Allocating afresh for every batch takes longer than filling it.
    """

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []

    def __call__(self, shape: tuple[int, int]) -> torch.Tensor:
        """Return an int16 tensor of this shape, with arbitrary contents."""
        size = shape[0] * shape[1]
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(0, np.int16)
        if len(memory) < size:
            memory = np.empty(size, np.int16)
        array = memory[:size].reshape(shape)
        # The tensor and all views of it keep the array alive, and the array keeps the memory.
        weakref.finalize(array, self._free.append, memory).atexit = False
        return torch.from_numpy(array)


class Loader:
    """Reads utterances of a dataset as batches, `ahead` of them in background threads.

    trim: remove the silence at both ends. splice: returns changed utterances, given those of a batch and a seed.
    surroundings: draw the scene of a batch. Both are used if `read` has a seed. alphabet: numbers the inputs of a
    dataset of symbols. `usable` (int32) are the indices of the utterances whose text the tokenizer can encode;
    `unusable` lists (id, reason) of the others. To find these, texts are read only if the dataset does not tell which
    characters they hold.
    """

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: Tokenizer,
        device: torch.device,
        trim: bool = False,
        ahead: int = 4,
        splice: Callable[[list[StoredUtterance], Sequence[int]], list[StoredUtterance]] | None = None,
        alphabet: Alphabet | None = None,
        surroundings: Surroundings | None = None,
    ):
        self._splice, self._alphabet, self._surroundings = splice, alphabet, surroundings
        self.dataset, self.tokenizer, self.device = dataset, tokenizer, device
        self._trim, self._ahead = trim, ahead
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._make = None  # for symbols, which are few
        if alphabet is None:
            self._make = Recycler() if self._stream is None else _pinned
        self.unusable: list[tuple[str, str]] = []
        left_out = []
        for i in dataset.holding([character for character in dataset.characters() if not tokenizer.covers(character)]):
            try:
                tokenizer.encode(dataset.text(i))
            except UnknownSymbolError as error:
                left_out.append(i)
                self.unusable.append((dataset.id(i), reason(error)))
        self.usable = np.delete(np.arange(len(dataset), dtype=np.int32), np.array(left_out, np.int64))

    def read(self, indices: Iterable[int], seed: Sequence[int] | None = None, spliced: bool = True) -> Batch:
        """Read one batch. It stays on the host.

        seed: of its random changes; None for none. spliced: False for none of the changes of `splice`.
        """
        utterances = [self.dataset.read(int(i), self._trim)[0] for i in indices]
        if self._splice and spliced and seed is not None:
            utterances = self._splice(utterances, seed)
        inputs = [utterance.input for utterance in utterances]
        if self._alphabet:
            inputs = [self._alphabet.encode(symbols) for symbols in inputs]
        targets = [self.tokenizer.encode(utterance.text) for utterance in utterances]
        batch = collate(inputs, targets, [utterance.id for utterance in utterances], self._make)
        if self._surroundings and seed is not None:
            return replace(batch, scene=self._surroundings.draw(batch.input_lengths.tolist(), batch.ids, seed))
        return batch

    def batches(
        self,
        plan: Iterable[Sequence[int]],
        seeds: Iterable[Sequence[int] | None] = repeat(None),
        spliced: bool = True,
    ) -> Iterator[Batch]:
        """Yield the batches of a plan, in its order, on the device. An error of a reader is raised here.

        seeds: one for each batch, of its random changes; None for a batch without any. spliced: as in `read`.
        """
        items = zip(plan, seeds, repeat(spliced))
        if self._stream is None:
            yield from read_ahead(items, lambda item: self.read(*item), self._ahead)
            return
        for batch, copied in read_ahead(items, self._send, self._ahead):
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(copied)
            batch.inputs.record_stream(stream)  # made on another stream, which could give its memory away too early
            if batch.scene is not None:
                batch.scene.record_stream(stream)
            yield batch

    def _send(self, item: tuple[Sequence[int], Sequence[int] | None, bool]) -> tuple[Batch, torch.cuda.Event]:
        """Start to copy a batch to the GPU while it computes; return it with the event of its arrival."""
        with torch.cuda.stream(self._stream):  # also makes the stream's device the current one of this thread
            return self.read(*item).to(self.device), self._stream.record_event()


def _pinned(shape: tuple[int, int]) -> torch.Tensor:
    """Return memory that a GPU can copy from; torch does not reuse it before the copy is done."""
    return torch.empty(shape, dtype=torch.int16, pin_memory=True)
