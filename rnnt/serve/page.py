"""The web page of the server: its files, with headers that let a browser load nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from rnnt.page_files import PAGE, page_policy

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": page_policy(frame_ancestors="'none'"),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self)",
    "Cache-Control": "no-cache",  # ask whether it has changed
}


def page_routes() -> list[Route]:
    """Return the routes of the page: `/`, and its files under `/page/`. Those in `local` are for exported models."""
    files = sorted(path for folder in (PAGE, PAGE / "server") for path in folder.iterdir() if path.suffix in _TYPES)
    names = {path.relative_to(PAGE).as_posix(): path for path in files}
    index = names.pop("index.html")
    return [Route("/", _answer(index)), *(Route(f"/page/{name}", _answer(path)) for name, path in names.items())]


def _answer(path: Path):
    async def endpoint(request: Request) -> Response:
        return FileResponse(path, headers=HEADERS, media_type=_TYPES[path.suffix])

    return endpoint
