"""The application: routes, and the errors that clients get."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from rnnt.latency import why_not_streaming
from rnnt.serve import metrics, socket
from rnnt.serve.access import Access, StalledError, TooLargeError, error_response, too_large
from rnnt.serve.file_engine import FileEngine
from rnnt.serve.limits import Limits, OverloadedError
from rnnt.serve.live_engine import LiveEngine
from rnnt.serve.page import page_routes
from rnnt.serve.realtime import serve_realtime
from rnnt.serve.sherpa import serve_sherpa
from rnnt.serve.socket import IdleError, Socket
from rnnt.serve.steering import Steering
from rnnt.serve.transcriptions import transcribe_request
from rnnt.serve.vosk import serve_vosk
from rnnt.text import complaint
from rnnt.threads import one_thread

if TYPE_CHECKING:
    from rnnt.decoding.fusion import Fusion
    from rnnt.recognizer import Recognizer

_log = logging.getLogger("rnnt.serve")
_SUBPROTOCOLS = ("realtime", "vosk")  # that clients in browsers name: OpenAI's, and the server's own page


@dataclass(frozen=True)
class Server:
    """What the routes share. name: of the model for clients."""

    name: str
    steering: Steering
    live: LiveEngine
    files: FileEngine
    limits: Limits
    metrics: metrics.Metrics

    def stop(self) -> None:
        """End the threads. Clients that wait get an error."""
        self.live.stop()
        self.files.stop()


def make_app(
    recognizer: Recognizer,
    folder: Path,
    limits: Limits | None = None,
    token: str | None = None,
    cors: tuple[str, ...] = (),
    lms: Mapping[str, Fusion] | None = None,
) -> Starlette:
    """Return the application for uvicorn. folder: of the model; its name is that of the model for clients.

    token: that requests need. cors: origins whose pages may use the server. lms: language models by the names that
    requests use. Raises ValueError if a language model does not fit.
    """
    recognizer.require_input("audio")
    limits, counts = limits or Limits(), metrics.Metrics()
    with one_thread():
        steering = Steering(recognizer, folder, lms)
    engines = (kind(steering, limits, counts) for kind in (LiveEngine, FileEngine))
    server = Server(folder.resolve().name, steering, *engines, limits, counts)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(server.stop)

    middleware = [Middleware(CORSMiddleware, allow_origins=list(cors), allow_methods=["*"], allow_headers=["*"])]
    middleware = middleware if cors else []
    sockets = {
        "/v1/realtime": partial(serve_realtime, model=server.name),
        "/sherpa": serve_sherpa,
        "/vosk": serve_vosk,
        "/": _serve_by_first_message,
    }
    routes = [
        Route("/v1/audio/transcriptions", _http(server, _transcriptions), methods=["POST"]),
        Route("/v1/models", _http(server, _models)),
        Route("/v1/models/{name:path}", _http(server, _model)),
        Route("/health", _http(server, _health)),
        Route("/metrics", _http(server, _metrics)),
        *page_routes(),
        *(WebSocketRoute(path, _websocket(server, serve)) for path, serve in sockets.items()),
    ]
    access = Middleware(Access, token=token, upload_bytes=limits.upload_bytes, idle_seconds=limits.idle_seconds)
    app = Starlette(routes=routes, middleware=[*middleware, access], lifespan=lifespan)
    app.state.server = server
    return app


def _http(server: Server, answer: Callable[[Server, Request], Awaitable[Response]]) -> Callable:
    """Return an endpoint whose errors are answers that OpenAI's clients understand."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(server, request)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except (ValueError, ImportError) as error:
            found = error_response(400, complaint(error), "invalid_request_error")
        except TooLargeError:
            found = too_large(server.limits.upload_bytes)
        except StalledError as error:
            found = error_response(408, str(error), "invalid_request_error", "timeout")
        except OverloadedError as error:
            found = error_response(429, str(error), "rate_limit_error", "overloaded", **{"Retry-After": "5"})
        except (asyncio.TimeoutError, TimeoutError):
            message = f"there was no transcript after {server.limits.file_seconds:g} s; send shorter recordings"
            found = error_response(504, message, "server_error", "timeout")
        except RuntimeError as error:
            _log.error("%s", error)
            found = error_response(500, str(error), "server_error")
        server.metrics.errors.labels(f"http-{found.status_code}").inc()
        return found

    return endpoint


def _websocket(server: Server, serve: Callable[[Socket, LiveEngine], Awaitable[None]]) -> Callable:
    """Return an endpoint whose errors are sent as `{"error": ...}` and as the reason of the close."""

    async def endpoint(websocket: WebSocket) -> None:
        offered = websocket.scope.get("subprotocols", [])
        await websocket.accept(next((name for name in offered if name in _SUBPROTOCOLS), None))
        code, reason = socket.NORMAL, ""
        async with Socket(websocket, server.limits.idle_seconds) as client:
            try:
                if why := _why_not_streaming(server):
                    raise ValueError(f"this model cannot stream, because {why}; send recordings instead")
                await serve(client, server.live)
            except WebSocketDisconnect:
                return
            except ValueError as error:
                code, reason = socket.INVALID, complaint(error)
            except OverloadedError as error:
                code, reason = socket.BUSY, str(error)
            except IdleError as error:
                code, reason = socket.POLICY, str(error)
            except RuntimeError as error:
                code, reason = socket.FAILED, str(error)
                _log.error("%s", error)
            if reason:
                server.metrics.errors.labels(f"websocket-{code}").inc()
                try:
                    await client.send({"type": "error", "error": {"message": reason, "code": code}})
                except (IdleError, RuntimeError, WebSocketDisconnect):
                    return
            await client.close(code, reason)

    return endpoint


async def _serve_by_first_message(client: Socket, engine: LiveEngine) -> None:
    """Serve clients of Vosk and sherpa-onnx, which connect without a path: only Vosk's begin with text."""
    await (serve_vosk if isinstance(await client.first(), str) else serve_sherpa)(client, engine)


async def _transcriptions(server: Server, request: Request) -> Response:
    return await transcribe_request(request, server.files, server.steering, server.limits)


async def _models(server: Server, request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [_description(server)]})


async def _model(server: Server, request: Request) -> Response:
    if request.path_params["name"] != server.name:
        return error_response(
            404, f"this server has the model {server.name}", "invalid_request_error", "model_not_found"
        )
    return JSONResponse(_description(server))


def _description(server: Server) -> dict:
    own = {"lms": server.steering.lms, "streams": not _why_not_streaming(server)}
    return {"id": server.name, "object": "model", "created": 0, "owned_by": "rnnt", **own}


def _why_not_streaming(server: Server) -> str:
    recognizer = server.steering.recognizer
    return why_not_streaming(recognizer.features, recognizer.model.encoder)


async def _health(server: Server, request: Request) -> Response:
    return JSONResponse({"status": "ok", "model": server.name})


async def _metrics(server: Server, request: Request) -> Response:
    return Response(server.metrics.text(), media_type=metrics.CONTENT_TYPE)
