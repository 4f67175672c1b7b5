"""Clients of the server that speak its protocols, for the tests."""

import base64
import io
import json
import time
from contextlib import suppress

import httpx
import numpy as np
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"


def vosk(address, samples, size=960, path="/vosk", config=None, delay=0.0):
    """Return the answers to a stream of int16 samples: those that are partial, and the others.

    delay: seconds after each chunk.
    """
    partials, results = [], []
    with connect(f"ws://{address}{path}") as socket:
        socket.send(json.dumps({"config": {"sample_rate": 16000, **(config or {})}}))
        for start in range(0, len(samples), size):
            socket.send(samples[start : start + size].tobytes())
            time.sleep(delay)
        socket.send('{"eof" : 1}')
        for message in socket:
            answer = json.loads(message)
            (partials if "partial" in answer else results).append(answer)
    return partials, results


def sherpa(address, samples, size=960, path="/sherpa"):
    """Return the messages of the server to a stream of float32 samples."""
    with connect(f"ws://{address}{path}") as socket:
        for start in range(0, len(samples), size):
            socket.send((samples[start : start + size] / np.float32(32768)).astype("<f4").tobytes())
        socket.send("Done")
        messages = list(socket)
    assert messages[-1] == "Done!"
    return [json.loads(message) for message in messages[:-1]]


def text_of(results):
    return " ".join(result["text"] for result in results if result["text"])


class Realtime:
    """A client of OpenAI's realtime transcription."""

    def __init__(self, address):
        self.socket = connect(f"ws://{address}/v1/realtime?intent=transcription").__enter__()
        assert self.event()["type"] == "session.created"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.__exit__(None, None, None)

    def event(self):
        return json.loads(self.socket.recv(timeout=30))

    def until(self, kind):
        events = [self.event()]
        while events[-1]["type"] != kind:
            events.append(self.event())
        return events

    def tell(self, kind, **fields):
        self.socket.send(json.dumps({"type": kind, **fields}))

    def update(self, rate=16000, **fields):
        audio = {"input": {"format": {"type": "audio/pcm", "rate": rate}, **fields}}
        self.tell("session.update", session={"type": "transcription", "audio": audio})
        return self.event()

    def append(self, samples, size=960):
        for start in range(0, len(samples), size):
            audio = base64.b64encode(samples[start : start + size].tobytes()).decode()
            self.tell("input_audio_buffer.append", audio=audio)


def closed(address, path, *messages):
    """Send messages until the server closes. Return the code and the text of its error."""
    with connect(f"ws://{address}{path}") as socket:
        with suppress(ConnectionClosed):
            for message in messages:
                socket.send(message)
        texts = []
        try:
            while True:
                texts.append(socket.recv(timeout=30))
        except ConnectionClosed as error:
            return error.rcvd.code, json.loads(texts[-1])["error"]["message"]


def wav(samples, rate=16000, kind="WAV"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


def post(address, files=None, **data):
    return httpx.post(f"http://{address}/v1/audio/transcriptions", files=files, data=data, timeout=60)


def error_of(response, status):
    assert response.status_code == status, response.text
    return response.json()["error"]["message"]
