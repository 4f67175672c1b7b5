"""Silent connections are closed, the oldest first, and keep nobody out."""

import socket

import httpx
import pytest
from serve_clients import post, text_of, vosk, wav

from rnnt.serve.connections import bounded


@pytest.fixture(params=["h11_impl.H11Protocol", "httptools_impl.HttpToolsProtocol"])
def protocol(request):
    """Uvicorn's two protocols; the second one if it is installed."""
    module, name = request.param.split(".")
    return getattr(pytest.importorskip(f"uvicorn.protocols.http.{module}"), name)


def open_connection(address):
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def is_closed(connection, seconds=0.05):
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def test_a_flood_pushes_out_its_own(served, serving, utterances, expected, protocol):
    with serving(served, http=bounded(protocol, 10, 60.0)) as address:
        flood = [open_connection(address) for _ in range(50)]
        assert httpx.get(f"http://{address}/health").json()["status"] == "ok"
        assert text_of(vosk(address, utterances[0])[1]) == expected[0].text
        assert post(address, {"file": ("a.wav", wav(utterances[0]))}).json()["text"] == expected[0].text
        late = [open_connection(address) for _ in range(5)]
        closed = [is_closed(each) for each in flood + late]
        assert sum(closed) >= 40 and not any(closed[-5:])  # those that came last stay
        for each in flood + late:
            each.close()


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_has_to_be_whole_in_time(served, serving, utterances, expected, protocol, sent):
    with serving(served, http=bounded(protocol, 10, 0.5)) as address, open_connection(address) as slow:
        slow.sendall(sent)
        assert text_of(vosk(address, utterances[0], delay=0.05)[1]) == expected[0].text  # takes longer
        assert is_closed(slow, 5.0)
