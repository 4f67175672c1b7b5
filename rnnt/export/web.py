"""The format `web`: a static page that runs the model in the browser, on one thread of WebAssembly.

index.html           the page of `rnnt serve`, with another engine
page/                its files
ort/                 ONNX Runtime from the npm package onnxruntime-web
model/               graphs, tokens.txt and config.json of the format `onnx`; a model that streams has no encoder.onnx
"""

import functools
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from rnnt.export.format import Format, Graphs
from rnnt.export.plain_onnx import ENCODER, STREAM, plain_engines, plain_graphs, write_plain
from rnnt.files import write_file
from rnnt.page_files import PAGE, page_policy
from rnnt.recognizer import Recognizer

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
VARIABLE = "ONNXRUNTIME_WEB"  # of the environment: the unpacked npm package, or its folder dist
_RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
# A static server sends no policy, so the page brings one. A worker has the policy of its own response: none.
_POLICY = page_policy(script_src="'self' 'wasm-unsafe-eval'", worker_src="'self'")


def web_graphs(recognizer: Recognizer) -> dict[str, Any]:
    """Return the graphs that the page needs. Raises ValueError if ONNX Runtime's files are not to be had."""
    recognizer.require_input("audio")
    find_runtime()
    graphs = plain_graphs(recognizer)
    if STREAM in graphs:
        del graphs[ENCODER]  # recordings go through the other one too
    return graphs


def write_web(recognizer: Recognizer, graphs: Graphs, folder: Path, weights: str) -> None:
    """Write the page, ONNX Runtime and the model."""
    for name in ("page/local", "ort", "model"):
        (folder / name).mkdir(parents=True)
    write_plain(recognizer, graphs, folder / "model", weights)
    for name, content in find_runtime().items():
        write_file(folder / "ort" / name, content)
    for path in sorted((*PAGE.iterdir(), *(PAGE / "local").iterdir())):
        if path.is_file() and path.name != "index.html":
            write_file(folder / "page" / path.relative_to(PAGE), path.read_bytes())
    write_file(folder / "index.html", _index((PAGE / "index.html").read_text("utf-8")))


def _index(html: str) -> str:
    """Return the server's page with the other engine, and with a policy."""
    meta = f'<meta charset="utf-8">\n  <meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return html.replace('<meta charset="utf-8">', meta, 1).replace("page/server/", "page/local/", 1)


@functools.cache
def find_runtime() -> dict[str, bytes]:
    """Return the files of ONNX Runtime by name: from a folder if the environment names one, else from npm.

    Raises ValueError that says how to get them.
    """
    if folder := os.environ.get(VARIABLE):
        found = next((each for each in (Path(folder) / "dist", Path(folder)) if (each / _RUNTIME[0]).is_file()), None)
        if found is None:
            raise ValueError(f"{VARIABLE}={folder} holds no {_RUNTIME[0]}; name the unpacked npm package {PACKAGE}")
        return _read(found)
    npm = shutil.which("npm")
    ways = f"install npm, or unpack the npm package {PACKAGE} and name its folder with {VARIABLE}=DIR"
    if npm is None:
        raise ValueError(f"the format web needs {PACKAGE}, and there is no npm to fetch it; {ways}")
    with tempfile.TemporaryDirectory() as temporary:
        command = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"]
        done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, check=False)
        archives = list(Path(temporary).glob("*.tgz"))
        if done.returncode or not archives:
            why = next(iter(re.findall(r"npm (?:ERR!|error) (?!code|errno)(.+)", done.stderr)), "it gave no reason")
            raise ValueError(f"npm could not fetch {PACKAGE}: {why}; {ways}")
        with tarfile.open(archives[0]) as archive:
            for name in _RUNTIME:
                member = archive.extractfile(f"package/dist/{name}")
                (Path(temporary) / name).write_bytes(member.read())
        return _read(Path(temporary))


def _read(folder: Path) -> dict[str, bytes]:
    try:
        return {name: (folder / name).read_bytes() for name in _RUNTIME}
    except OSError as error:
        why = f"{error.strerror}: {error.filename}"
        raise ValueError(f"{why}; the folder must hold {' and '.join(_RUNTIME)}") from None


WEB = Format("web", web_graphs, plain_engines, write_web)
