"""Live speech in the protocol of Vosk."""

import json

import numpy as np
from serve_clients import text_of, vosk
from websockets.sync.client import connect

from rnnt.decoding.endpoint import EndpointRules


def test_vosk(address, utterances, expected):
    for samples, transcript in zip(utterances, expected):
        _, results = vosk(address, samples)
        assert text_of(results) == transcript.text
        assert [word["word"] for result in results for word in result.get("result", [])] == transcript.text.split()
        words = [word for result in results for word in result.get("result", [])]
        assert all(0 <= word["start"] <= word["end"] <= transcript.seconds + 0.1 for word in words)
        assert all(0 <= word["conf"] <= 1 for word in words)
    assert "result" not in vosk(address, utterances[2], config={"words": False})[1][0]


def test_partial_text_comes_while_the_person_is_speaking(address, utterances):
    with connect(f"ws://{address}/vosk") as socket:
        found = []
        for samples in np.array_split(utterances[2], 10):
            socket.send(samples.tobytes())
            found.append(json.loads(socket.recv(timeout=30)))
    assert any(answer.get("partial") for answer in found)


def test_vosk_at_another_rate(address, served, utterances):
    stream = served.stream(8000)
    stream.accept(utterances[2])
    assert text_of(vosk(address, utterances[2], config={"sample_rate": 8000})[1]) == stream.finish().text


def test_endpoints_divide_the_text(served, serving, utterances):
    samples = np.concatenate([utterances[0], np.zeros(3 * 16000, np.int16), utterances[6]])
    stream = served.stream(rules=EndpointRules())
    stream.accept(samples)
    whole = stream.finish()
    with serving(served) as address:
        _, results = vosk(address, samples)
        assert [result["text"] for result in results] == [segment.text for segment in whole.segments]
