"""Tokens, and uploads that are too large."""

import base64
import json
import time

import httpx
import pytest
from serve_clients import error_of, post, wav
from websockets.sync.client import connect


def test_an_upload_that_is_too_large(served, serving):
    with serving(served, upload_bytes=100_000) as address:
        assert "larger than 100,000 bytes" in error_of(post(address, {"file": b"x" * 200_000}), 413)

        def parts():
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            for _ in range(20):
                yield b"x" * 10_000

        headers = {"content-type": "multipart/form-data; boundary=b"}  # its length is not told
        found = httpx.post(f"http://{address}/v1/audio/transcriptions", content=parts(), headers=headers)
        assert "larger than 100,000 bytes" in error_of(found, 413)


def test_an_upload_that_pauses_for_too_long(served, serving):
    with serving(served, idle_seconds=0.2) as address:

        def parts():
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            time.sleep(1.0)
            yield b"x"

        headers = {"content-type": "multipart/form-data; boundary=b"}
        found = httpx.post(f"http://{address}/v1/audio/transcriptions", content=parts(), headers=headers)
        assert "the upload stopped for 0.2 s" in error_of(found, 408)


def test_the_token(served, serving, utterances):
    with serving(served, {"token": "secret-token"}) as address:
        url = f"http://{address}/v1/models"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer secret-tokem"}).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer secret-token"}).status_code == 200
        assert httpx.get(f"http://{address}/health").status_code == 200
        assert httpx.get(f"http://{address}/metrics").status_code == 401
        assert "token" in error_of(post(address, {"file": wav(utterances[0])}), 401)


def test_the_token_of_a_socket(served, serving, utterances):
    with serving(served, {"token": "secret-token"}) as address:
        with pytest.raises(Exception, match="403"):
            connect(f"ws://{address}/vosk")
        headers = {"Authorization": "Bearer secret-token"}
        with connect(f"ws://{address}/vosk", additional_headers=headers) as socket:
            socket.send('{"eof" : 1}')
            assert json.loads(socket.recv(timeout=30)) == {"text": ""}
        protocols = ["realtime", "openai-insecure-api-key.secret-token"]
        with connect(f"ws://{address}/v1/realtime", subprotocols=protocols) as socket:
            assert json.loads(socket.recv(timeout=30))["type"] == "session.created"


def test_the_token_in_the_name_of_a_subprotocol_may_have_any_letters(served, serving):
    token = "se/cret+to=ken~?"
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    with serving(served, {"token": token}) as address:
        url = f"ws://{address}/vosk"
        with connect(url, subprotocols=["vosk", f"base64url.bearer.{encoded}"]) as socket:
            assert socket.subprotocol == "vosk"  # the token does not come back
        for wrong in (encoded[:-2], "_w", "x", "é".encode().hex(), ""):
            with pytest.raises(Exception, match="403"):
                connect(url, subprotocols=["vosk", f"base64url.bearer.{wrong}"])
        assert httpx.get(f"http://{address}/").status_code == 200
        assert httpx.get(f"http://{address}/page/main.js").status_code == 200
        assert httpx.get(f"http://{address}/page/../metrics").status_code == 401
