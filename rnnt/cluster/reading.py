"""The work of readers in a transcription: files -> windows of segments. No torch is loaded, so a reader is small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rnnt.audio import audio_blocks
from rnnt.cluster.inputs import Recording
from rnnt.cluster.storage import copied_name, local_copy
from rnnt.recordings import End, Grid, Piece
from rnnt.text import complaint

WINDOW_SECONDS = 300  # of audio that an actor decodes at a time; a longer recording is divided among actors


@dataclass(frozen=True)
class ReadSegments:
    """Reads recordings and cuts them into segments, as `rnnt transcribe` does."""

    grid: Grid
    batch_size: int

    def __call__(self, recordings: Sequence[Recording]) -> Iterator[tuple[list[Piece | End], dict[int, str]]]:
        """Yield windows of segments and ends of recordings, with the digests of the files that end there."""
        digests: dict[int, str] = {}
        sources = [partial(self._blocks, *item, digests) for item in enumerate(recordings)]
        for window in self.grid.windows(sources, self.batch_size, WINDOW_SECONDS):
            ends = [item.recording for item in window if isinstance(item, End)]
            yield [_plain(item) for item in window], {number: digests.get(number, "") for number in ends}

    def _blocks(self, number: int, recording: Recording, digests: dict[int, str]) -> Iterator[np.ndarray]:
        with local_copy(recording.path) as (file, digest):
            digests[number] = digest
            yield from audio_blocks(file, self.grid.rate, copied_name(recording.path))


def _plain(item: Piece | End) -> Piece | End:
    """Return an end whose error is its message alone, which every process can read."""
    if isinstance(item, Piece) or item.error is None:
        return item
    return replace(item, error=ValueError(complaint(item.error)))
