"""How much the server takes on: beyond these limits it refuses, so that those it serves wait for nobody."""

from __future__ import annotations

from dataclasses import dataclass


class OverloadedError(Exception):
    """Raised when the server holds as much as it can. The client should come again later."""


@dataclass(frozen=True)
class Limits:
    """The server's limits.

    streams: open at once. lag_seconds: a new stream is refused if audio waits longer than this. files: recordings that
    wait or are transcribed at once. file_seconds: a recording that has no transcript after so long is given up.
    recording_seconds: the longest recording. stream_seconds: the longest stream. idle_seconds: a client that sends
    nothing, or does not read, for so long is sent away. upload_bytes: of one request. gather_seconds: how long the
    first chunk waits for others to share its batch.
    """

    streams: int = 64
    lag_seconds: float = 2.0
    files: int = 64
    file_seconds: float = 600.0
    recording_seconds: float = 4 * 3600.0
    stream_seconds: float = 4 * 3600.0
    idle_seconds: float = 60.0
    upload_bytes: int = 512 << 20
    gather_seconds: float = 0.02

    def __post_init__(self):
        for name, value in vars(self).items():
            if not value > 0:  # false of NaN too
                raise ValueError(f"the server's limit {name} is {value}; it must be above 0")
