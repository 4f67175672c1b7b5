"""Connections that send nothing: they cost little, and keep nobody out."""

from __future__ import annotations

import asyncio


def bounded(protocol: type[asyncio.Protocol], most: int, seconds: float) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol of HTTP with limits on connections that have not sent a whole request head yet.

    Beyond `most` of them the oldest is closed, so a flood of silent connections pushes out its own and nobody else.
    Each is closed after so many seconds.
    """
    silent: dict[asyncio.Protocol, asyncio.Transport] = {}  # the oldest first

    class Bounded(protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            silent[self] = transport
            self._deadline = asyncio.get_running_loop().call_later(seconds, _close, self)
            if len(silent) > most:
                _close(next(iter(silent)))

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            # A head makes a cycle of request and response, or hands the connection to the protocol of WebSockets.
            if self in silent and (self.cycle is not None or silent[self].get_protocol() is not self):
                self._forget()

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            self._forget()

        def _forget(self) -> None:
            silent.pop(self, None)
            self._deadline.cancel()

    def _close(connection: asyncio.Protocol) -> None:
        if transport := silent.pop(connection, None):
            transport.abort()

    return Bounded
