"""The verb `serve`."""

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from rnnt.commands.terminal import (
    Decoding,
    Device,
    HotWords,
    IlmWeight,
    LmWeight,
    LodrWeight,
    show,
    warnings_shown,
)

_SILENT = 256  # connections that have not sent a request yet


def serve_command(
    model: Annotated[Path, typer.Argument(help="a run or a model")],
    host: Annotated[str, typer.Option(help="address to listen at; 0.0.0.0 for all networks")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen at", min=1, max=65535)] = 8000,
    streams: Annotated[int, typer.Option(help="streams that are open at once, at most", min=1)] = 64,
    files: Annotated[int, typer.Option(help="recordings that wait or are transcribed at once, at most", min=1)] = 64,
    timeout: Annotated[float, typer.Option(help="seconds after which a recording is given up", min=1)] = 600,
    idle: Annotated[float, typer.Option(help="seconds after which a silent client is sent away", min=1)] = 60,
    upload_mb: Annotated[int, typer.Option(help="megabytes of one upload, at most", min=1)] = 512,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="requests need the token in this file, as a bearer token")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="an origin whose pages may use the server")
    ] = None,
    lm: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="a language model that requests may name; an ARPA file"),
    ] = None,
    decoding: Decoding = None,
    hotwords: HotWords = None,
    lm_weight: LmWeight = None,
    lodr_weight: LodrWeight = None,
    ilm_weight: IlmWeight = None,
    device: Device = "cpu",
) -> None:
    """Serve a model: recordings over HTTP, live speech over WebSockets, and a page for a browser at /.

    The protocols are those of OpenAI (/v1/audio/transcriptions, /v1/realtime), of sherpa-onnx (/sherpa) and of Vosk
    (/vosk). Counts are at /metrics. Control-C ends the server.

    Example: rnnt serve runs/mine --port 8000
    """
    # Read when NumPy is imported. After each product of matrices its threads would look for more work for a while, and
    # so keep the cores from PyTorch and from the event loop.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        import uvicorn
        from uvicorn.protocols.http.auto import AutoHTTPProtocol

        from rnnt.serve.app import make_app
        from rnnt.serve.connections import bounded
    except ImportError as error:
        raise ImportError(f"rnnt serve needs the package {error.name}: pip install 'rnnt[serve]'") from None
    from rnnt.decoding.fusion import make_fusion
    from rnnt.recognizer import load
    from rnnt.serve.limits import Limits
    from rnnt.threads import one_thread

    token = _read_token(token_file) if token_file else None
    weights = {"lm_weight": lm_weight, "lodr_weight": lodr_weight, "ilm_weight": ilm_weight}
    lms = {name: make_fusion(file, **weights) for name, file in map(_named, lm or [])}
    listener = _listen(host, port)
    with warnings_shown():
        with one_thread():
            recognizer = load(model, device, decoding, hotwords)
        limits = Limits(
            streams=streams, files=files, file_seconds=timeout, idle_seconds=idle, upload_bytes=upload_mb << 20
        )
        app = make_app(recognizer, model, limits, token, tuple(cors or ()), lms)
    show(f"{model}: http://{host}:{port} (Control-C ends the server)")
    settings = uvicorn.Config(
        app,
        http=bounded(AutoHTTPProtocol, _SILENT, idle),
        log_level="warning",
        ws_max_size=4 << 20,
        limit_concurrency=4 * (streams + files) + 16,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
        server_header=False,
    )
    uvicorn.Server(settings).run(sockets=[listener])


def _read_token(file: Path) -> str:
    token = file.read_text().strip()
    if len(token) < 8 or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{file}: holds no token; write at least 8 letters and digits into it, without spaces")
    return token


def _listen(host: str, port: int) -> socket.socket:
    """Open the port before the model, which takes longer to open."""
    try:
        found = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = error.strerror or error
        raise ValueError(f"cannot listen at {host} port {port}: {why}; give another --host or --port") from None
    # asyncio lets small messages leave at once only if a socket says that its protocol is TCP, and `create_server` does
    # not say so. Otherwise the second part of each answer waits 40 ms, until the client has acknowledged the first.
    return socket.socket(found.family, found.type, socket.IPPROTO_TCP, found.detach())


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ValueError(f"--lm {text[:100]} is not of the form NAME=FILE")
    return name, Path(path)
