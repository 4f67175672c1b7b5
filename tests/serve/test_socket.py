"""Clients that are silent, or never read."""

import base64
import json

from serve_clients import closed, text_of, vosk
from websockets.sync.client import connect


def test_silent_clients_are_sent_away(served, serving):
    with serving(served, idle_seconds=0.3) as address:
        for path in ("/sherpa", "/vosk", "/"):
            code, text = closed(address, path)
            assert code == 1008 and "nothing came" in text


def test_a_client_that_never_reads_delays_nobody(served, serving, utterances, expected):
    with serving(served, idle_seconds=2.0) as address, connect(f"ws://{address}/v1/realtime", max_queue=1) as deaf:
        audio = base64.b64encode(b"\x00" * 30_000).decode()
        for _ in range(20):
            deaf.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        assert text_of(vosk(address, utterances[0])[1]) == expected[0].text
