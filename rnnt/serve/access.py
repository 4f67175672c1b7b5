"""What every request has to pass: the token, and the limits on the size and the pauses of an upload."""

from __future__ import annotations

import asyncio
import base64
import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

_OPEN = ("/", "/health")  # also without a token; the page and its files hold no secret
_PAGE = "/page/"
# A browser cannot set headers of a WebSocket, and sends a token in the name of a subprotocol. OpenAI's clients write it
# as it is, which works if it has no `/` or `=`. The page encodes it, as Kubernetes does, so it may have any letter.
_PLAIN, _ENCODED = "openai-insecure-api-key.", "base64url.bearer."


class TooLargeError(Exception):
    """Raised when an upload is larger than the server takes."""


class StalledError(Exception):
    """Raised when an upload does not go on."""


class Access:
    """Refuses requests without the token, and uploads that are too large or do not go on.

    token: None for none. idle_seconds: the longest pause of an upload.
    """

    def __init__(self, app: ASGIApp, token: str | None, upload_bytes: int, idle_seconds: float):
        self._app, self._token, self._most, self._idle = app, token, upload_bytes, idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._may_enter(scope, headers):
            refusal = WebSocketClose(1008, "the token is missing or wrong")
            if scope["type"] == "http":
                message = "the token is missing or wrong; send it in the header Authorization: Bearer TOKEN"
                refusal = error_response(401, message, "invalid_request_error", "invalid_api_key")
            await refusal(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._most:
            await too_large(self._most)(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _may_enter(self, scope: Scope, headers: Headers) -> bool:
        if self._token is None:
            return True
        page = scope["path"] in _OPEN or scope["path"].startswith(_PAGE)
        if scope["type"] == "http" and page:
            return True
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if scope["type"] == "websocket" and not given:
            given = next(filter(None, map(_token_of, scope.get("subprotocols", []))), "")
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _counted(self, receive: Receive) -> Receive:
        count, whole = 0, False

        async def counted() -> Message:
            nonlocal count, whole
            if whole:  # what follows is the end of the connection, whenever that comes
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._idle)
            except asyncio.TimeoutError:
                raise StalledError(f"the upload stopped for {self._idle:g} s") from None
            whole = not message.get("more_body", False)
            count += len(message.get("body", b""))
            if count > self._most:
                raise TooLargeError
            return message

        return counted


def _token_of(subprotocol: str) -> str:
    """Return the token in the name of a subprotocol; "" if it has none."""
    if subprotocol.startswith(_PLAIN):
        return subprotocol.removeprefix(_PLAIN)
    if not subprotocol.startswith(_ENCODED):
        return ""
    encoded = subprotocol.removeprefix(_ENCODED)
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:
        return ""


def error_response(status: int, message: str, kind: str, code: str | None = None, **headers: str) -> JSONResponse:
    """Return an error as OpenAI's clients read it."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers)


def too_large(most: int) -> JSONResponse:
    """Return the answer to an upload that is too large."""
    return error_response(
        413, f"the upload is larger than {most:,} bytes; split the recording", "invalid_request_error"
    )
