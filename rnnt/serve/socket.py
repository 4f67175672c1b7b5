"""A WebSocket of a client: its messages as they come, with limits on silence and on clients that do not read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

# Close codes of RFC 6455, and that of the IANA registry for "try again later".
NORMAL, UNSUPPORTED, INVALID, POLICY, FAILED, BUSY = 1000, 1003, 1007, 1008, 1011, 1013
_MOST_WAITING = 64  # messages; then the client has to wait


class IdleError(Exception):
    """Raised when a client sends nothing, or reads nothing, for too long."""


class Socket:
    """Reads messages in the background, so that several that have come can be worked on together.

    idle_seconds: the longest time without a message, and to send one. Use it as an asynchronous context.
    """

    def __init__(self, websocket: WebSocket, idle_seconds: float):
        self.websocket, self._idle = websocket, idle_seconds
        self._queue: asyncio.Queue[str | bytes | None] = asyncio.Queue(_MOST_WAITING)
        self._seen: list[str | bytes | None] = []

    async def __aenter__(self) -> Socket:
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()

    async def first(self) -> str | bytes | None:
        """Wait for the first message, and leave it there. None if the connection ends. Raises IdleError."""
        self._seen.append(await self._next())
        return self._seen[0]

    async def messages(self) -> AsyncIterator[list[str | bytes]]:
        """Yield the messages that have come since the last time, at least one. The end is that of the connection.

        Raises IdleError.
        """
        while True:
            found = self._seen or [await self._next()]
            self._seen = []
            while not self._queue.empty():
                found.append(self._queue.get_nowait())
            if None in found:
                if whole := found[: found.index(None)]:
                    yield whole
                return
            yield found

    async def send(self, message: dict | str) -> None:
        """Send text, or an object as JSON. Raises IdleError if the client does not read."""
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        try:
            await asyncio.wait_for(self.websocket.send_text(text), self._idle)
        except asyncio.TimeoutError:
            raise IdleError(f"the client read nothing for {self._idle:g} s") from None

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close the connection if it is open. reason: at most 123 bytes of it are sent."""
        if self.websocket.application_state is WebSocketState.CONNECTED:
            short = reason.encode()[:123].decode(errors="ignore")
            try:
                await asyncio.wait_for(self.websocket.close(code, short), self._idle)
            except (asyncio.TimeoutError, RuntimeError, WebSocketDisconnect):
                return

    async def _next(self) -> str | bytes | None:
        try:
            return await asyncio.wait_for(self._queue.get(), self._idle)
        except asyncio.TimeoutError:
            raise IdleError(f"nothing came for {self._idle:g} s") from None

    async def _read(self) -> None:
        try:
            while True:
                message = await self.websocket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                text = message.get("text")
                await self._queue.put(message.get("bytes") if text is None else text)
        except (WebSocketDisconnect, RuntimeError):
            pass
        await self._queue.put(None)
