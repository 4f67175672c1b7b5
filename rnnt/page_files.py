"""The web page that `rnnt serve` and the export `web` share: where its files are, and what its browser may load."""

from pathlib import Path

PAGE = Path(__file__).parent / "page"
_POLICY = {  # 'self' is the page's own host, and covers its WebSockets. blob: is the recording that the page holds.
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "media-src": "blob:",
    "base-uri": "'none'",
    "form-action": "'none'",
}


def page_policy(**more: str) -> str:
    """Return a Content-Security-Policy by which nothing comes from other hosts. more: directives to add or replace.

    >>> page_policy(worker_src="'self'").endswith("form-action 'none'; worker-src 'self'")
    True
    """
    directives = _POLICY | {name.replace("_", "-"): value for name, value in more.items()}
    return "; ".join(f"{name} {value}" for name, value in directives.items())
