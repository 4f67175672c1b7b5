"""Batches on the device, read ahead in the background."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rnnt.audio import trim_silence
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

    def pin(self) -> "Batch":
        return Batch(*[getattr(self, name).pin_memory() for name in _TENSORS], ids=self.ids)


_TENSORS = ("audio", "num_samples", "targets", "target_lengths")


def collate(audio: Sequence[np.ndarray], tokens: Sequence[Sequence[int]], ids: Sequence[str]) -> Batch:
    """Pad int16 waveforms and token lists with zeros to their longest."""
    num_samples = torch.tensor([len(x) for x in audio])
    lengths = torch.tensor([len(x) for x in tokens])
    padded = torch.zeros(len(audio), int(num_samples.max()), dtype=torch.int16)
    targets = torch.zeros(len(tokens), int(lengths.max()), dtype=torch.int64)
    for i, (samples, symbols) in enumerate(zip(audio, tokens)):
        padded[i, : len(samples)] = torch.from_numpy(np.array(samples, dtype=np.int16))
        targets[i, : len(symbols)] = torch.tensor(list(symbols), dtype=torch.int64)
    return Batch(padded, num_samples, targets, lengths, list(ids))


class Loader:
    """Reads utterances of a dataset as batches, `ahead` of them in a background thread.

    An utterance whose text the tokenizer cannot encode is not in `usable`; `unusable` lists (id, reason).
    """

    def __init__(
        self, dataset: Dataset, tokenizer: Tokenizer, device: torch.device, trim: bool = False, ahead: int = 4
    ):
        self.dataset, self.tokenizer, self.device = dataset, tokenizer, device
        self._trim, self._ahead = trim, ahead
        self.unusable: list[tuple[str, str]] = []
        encodable = np.ones(len(dataset), dtype=bool)
        for i, text in enumerate(dataset.texts()):
            try:
                tokenizer.encode(text)
            except UnknownSymbolError as error:
                encodable[i] = False
                self.unusable.append((dataset.id(i), str(error)))
        self.usable = np.flatnonzero(encodable)

    def read(self, indices: Iterable[int]) -> Batch:
        """One batch, on the host."""
        records = [self.dataset[int(i)] for i in indices]
        audio = [trim_silence(record.audio) if self._trim else record.audio for record in records]
        return collate(audio, [self.tokenizer.encode(r.text) for r in records], [r.id for r in records])

    def batches(self, plan: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """The batches of a plan, in its order, on the device. An error of the reader is raised here."""
        cuda = self.device.type == "cuda"
        yield from (
            batch.to(self.device)
            for batch in read_ahead(plan, lambda part: self.read(part).pin() if cuda else self.read(part), self._ahead)
        )


def read_ahead(plan: Iterable, read: Callable, ahead: int) -> Iterator:
    """Like map(read, plan), computed by a background thread that is at most `ahead` results in front."""
    results: queue.Queue = queue.Queue(ahead)
    stop = threading.Event()

    def put(item) -> bool:
        while not stop.is_set():
            try:
                results.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for part in plan:
                if not put((read(part), None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            result, error = results.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield result
    finally:
        stop.set()
        thread.join()
