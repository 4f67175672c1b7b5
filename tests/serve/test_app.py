"""The routes, and what clients get that are not understood."""

import socket

import httpx
import numpy as np
import pytest
from serve_clients import closed, post, sherpa, text_of, vosk, wav


def test_models(client, address):
    (model,) = client.models.list().data
    assert model.id == "tiny" and client.models.retrieve("tiny").id == "tiny"
    assert httpx.get(f"http://{address}/v1/models/other").status_code == 404
    assert httpx.get(f"http://{address}/health").json() == {"status": "ok", "model": "tiny"}


def test_pages_of_other_origins_are_refused_unless_named(served, serving, address):
    ask = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in httpx.get(f"http://{address}/health", headers=ask).headers
    with serving(served, {"cors": ("https://a.example",)}) as open_address:
        headers = httpx.options(f"http://{open_address}/v1/models", headers=ask).headers
        assert headers["access-control-allow-origin"] == "https://a.example"
        ask["origin"] = "https://b.example"
        assert (
            "access-control-allow-origin" not in httpx.options(f"http://{open_address}/v1/models", headers=ask).headers
        )


def test_a_model_that_cannot_stream_says_so_and_serves_recordings(make, serving, utterances):
    httpx = pytest.importorskip("httpx")
    recognizer = make()
    with serving(recognizer) as address:
        for path in ("/sherpa", "/vosk", "/v1/realtime"):
            code, text = closed(address, path)
            assert code == 1007 and "cannot stream" in text and "recordings" in text
        found = httpx.post(
            f"http://{address}/v1/audio/transcriptions", files={"file": utterances[0].tobytes()}, timeout=30
        )
        assert found.status_code == 400  # no audio file


def test_clients_without_a_path_are_told_apart_by_their_first_message(address, utterances, expected):
    assert text_of(vosk(address, utterances[0], path="/")[1]) == expected[0].text
    assert text_of([m for m in sherpa(address, utterances[0], path="") if m["is_final"]]) == expected[0].text


def test_an_upload_that_stops_half_way_harms_nobody(address, utterances, expected):
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
    assert post(address, {"file": wav(utterances[0])}).json()["text"] == expected[0].text


NAN = np.full(960, np.nan, "<f4").tobytes()


@pytest.mark.parametrize(
    ("path", "message", "why"),
    [
        ("/vosk", "some text", "audio belongs into binary"),
        ("/vosk", b"abc", "within a sample"),
        ("/vosk", '{"config": 3}', "must be an object"),
        ("/vosk", '{"config": {"sample_rate": 1}}', "sample_rate is 1"),
        ("/vosk", '{"config": {"sample_rate": 10000000}}', "sample_rate is 10000000"),
        ("/vosk", '{"config": {"sample_rate": "x"}}', "sample_rate is 'x'"),
        ("/vosk", '{"config": {"phrase_list": [1]}}', "phrase_list"),
        ("/sherpa", "some text", "audio belongs into binary"),
        ("/sherpa", b"abcde", "within a sample"),
        ("/sherpa", NAN, "NaN"),
        ("/", "some text", "audio belongs into binary"),
    ],
)
def test_what_is_no_message_of_the_protocol(address, utterances, expected, path, message, why):
    code, text = closed(address, path, message, b"")
    assert code == 1007 and why in text
    assert text_of(vosk(address, utterances[0])[1]) == expected[0].text
