"""A server on a port of this machine, with a random model that streams."""

import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("starlette")
import uvicorn

from rnnt.serve.app import make_app
from rnnt.serve.limits import Limits


@pytest.fixture(scope="session")
def served(make):
    """The model of the servers: greedy search, and running statistics."""
    recognizer = make(blank=-2.0, features={"normalization": "running"}, decoding={"max_symbols_per_frame": 3})
    recognizer.features.mean.fill_(-7.0)
    recognizer.features.std.fill_(3.0)
    return recognizer


@contextmanager
def running(app, http="auto"):
    """Run an application. http: the protocol of connections. Gives its address without the scheme."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=http, log_level="error", ws_max_size=1 << 20)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def serving(tmp_path_factory):
    """serving(recognizer, **limits): a context with the address of a server; `options` go to `make_app`."""
    folder = tmp_path_factory.mktemp("serve") / "tiny"

    @contextmanager
    def serve(recognizer, options=None, http="auto", **limits):
        app = make_app(recognizer, folder, Limits(**limits), **(options or {}))
        with running(app, http) as address:
            yield address

    return serve


@pytest.fixture(scope="module")
def address(served, serving):
    """The address of a server that several tests share."""
    with serving(served) as found:
        yield found


@pytest.fixture(scope="session")
def expected(served, utterances):
    """The transcript of each of the utterances, decoded alone."""
    return [served.transcribe([samples])[0] for samples in utterances]


@pytest.fixture(scope="module")
def client(address):
    """The client of OpenAI."""
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0)
