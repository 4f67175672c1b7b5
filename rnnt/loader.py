"""Batches on the device, read ahead in the background."""

import unicodedata
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from rnnt.dataset import Dataset
from rnnt.tokenizer import Tokenizer, UnknownSymbolError


@dataclass(frozen=True)
class Batch:
    """Padded utterances: audio (B, N) int16, num_samples (B,), targets (B, U) int64, target_lengths (B,), their ids."""

    audio: torch.Tensor
    num_samples: torch.Tensor
    targets: torch.Tensor
    target_lengths: torch.Tensor
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "Batch":
        moved = [getattr(self, name).to(device, non_blocking=True) for name in _TENSORS]
        return Batch(*moved, ids=self.ids)


_TENSORS = ("audio", "num_samples", "targets", "target_lengths")


def collate(audio: Sequence[np.ndarray], tokens: Sequence[Sequence[int]], ids: Sequence[str]) -> Batch:
    """Pad int16 waveforms and token lists with zeros to their longest."""
    return _collate(audio, tokens, ids, lambda shape: torch.empty(shape, dtype=torch.int16))


def _collate(audio, tokens, ids, make: Callable[[tuple[int, int]], torch.Tensor]) -> Batch:
    """A batch whose audio is in memory that `make` gives."""
    num_samples = torch.tensor([len(samples) for samples in audio])
    lengths = torch.tensor([len(symbols) for symbols in tokens])
    padded = make((len(audio), int(num_samples.max())))
    for row, samples in zip(padded.numpy(), audio):
        row[: len(samples)] = samples
        row[len(samples) :] = 0
    targets = torch.zeros(len(tokens), int(lengths.max()), dtype=torch.int64)
    for row, symbols in zip(targets.numpy(), tokens):
        row[: len(symbols)] = symbols
    return Batch(padded, num_samples, targets, lengths, list(ids))


class Recycler:
    """Memory for batches: that of earlier ones that nobody holds any more. To get as much from the system for every
    batch takes longer than to fill it."""

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []

    def __call__(self, shape: tuple[int, int]) -> torch.Tensor:
        """An int16 tensor of this shape, with anything in it."""
        size = shape[0] * shape[1]
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(0, np.int16)
        if len(memory) < size:
            memory = np.empty(size, np.int16)
        array = memory[:size].reshape(shape)
        # The tensor, and whatever is a view of it, keeps the array, and the array the memory.
        weakref.finalize(array, self._free.append, memory).atexit = False
        return torch.from_numpy(array)


class Loader:
    """Reads utterances of a dataset as batches, `ahead` of them in background threads.

    An utterance whose text the tokenizer cannot encode is not in `usable` (int32); `unusable` lists (id, reason). The
    texts are not read for that where the dataset tells which characters they hold, and where the rare ones are.
    """

    def __init__(
        self, dataset: Dataset, tokenizer: Tokenizer, device: torch.device, trim: bool = False, ahead: int = 4
    ):
        self.dataset, self.tokenizer, self.device = dataset, tokenizer, device
        self._trim, self._ahead = trim, ahead
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._make = Recycler() if self._stream is None else _pinned
        self.unusable: list[tuple[str, str]] = []
        left_out = []
        for i, text in _doubtful(dataset, tokenizer):
            try:
                tokenizer.encode(text)
            except UnknownSymbolError as error:
                left_out.append(i)
                self.unusable.append((dataset.id(i), str(error)))
        self.usable = np.delete(np.arange(len(dataset), dtype=np.int32), np.array(left_out, np.int64))

    def read(self, indices: Iterable[int]) -> Batch:
        """One batch, on the host."""
        records = [self.dataset.read(int(i), self._trim) for i in indices]
        audio = [record.audio for record in records]
        tokens = [self.tokenizer.encode(record.text) for record in records]
        return _collate(audio, tokens, [record.id for record in records], self._make)

    def batches(self, plan: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """The batches of a plan, in its order, on the device. An error of a reader is raised here."""
        if self._stream is None:
            yield from read_ahead(plan, self.read, self._ahead)
            return
        for batch, copied in read_ahead(plan, self._send, self._ahead):
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(copied)
            for name in _TENSORS:  # made on another stream: without this their memory could be given away too early
                getattr(batch, name).record_stream(stream)
            yield batch

    def _send(self, indices: Iterable[int]) -> tuple[Batch, torch.cuda.Event]:
        """A batch on its way to the GPU, beside what the GPU is computing, and the event of its arrival."""
        with torch.cuda.stream(self._stream):  # in this thread, and its device with it
            return self.read(indices).to(self.device), self._stream.record_event()


def _pinned(shape: tuple[int, int]) -> torch.Tensor:
    """Memory that a GPU can fetch from; torch hands it out again only after the copy to the GPU is done."""
    return torch.empty(shape, dtype=torch.int16, pin_memory=True)


def _doubtful(dataset: Dataset, tokenizer: Tokenizer) -> Iterator[tuple[int, str]]:
    """The utterances, and their texts, that the tokenizer may lack a symbol for: all where it knows words."""
    if tokenizer.kind == "words":
        yield from enumerate(dataset.texts())
        return
    for i in dataset.holding([character for character in dataset.characters() if not _encodes(tokenizer, character)]):
        yield i, dataset.text(i)


def _encodes(tokenizer: Tokenizer, character: str) -> bool:
    """Whether every text of such characters can be encoded. Of an accent that SentencePiece may combine with the letter
    before it into a third character, that cannot be told."""
    plain = unicodedata.normalize("NFKC", character)
    if tokenizer.kind == "sentencepiece" and any(map(unicodedata.combining, plain)):
        return False
    try:
        tokenizer.encode(character)
    except UnknownSymbolError:
        return False
    return True


def read_ahead(plan: Iterable, read: Callable, ahead: int, threads: int = 2) -> Iterator:
    """Like map(read, plan), computed by background threads that are at most `ahead` results in front."""
    waiting: deque[Future] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for part in plan:
            waiting.append(pool.submit(read, part))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
