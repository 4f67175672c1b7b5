"""Live speech in the protocol of OpenAI."""

import base64

from serve_clients import COMPLETED, DELTA, Realtime, text_of


def test_realtime(address, utterances, expected):
    with Realtime(address) as client:
        assert client.update()["type"] == "session.updated"
        for number in (0, 2, 6):
            client.append(utterances[number])
            client.tell("input_audio_buffer.commit")
            events = client.until(COMPLETED)
            while (
                text_of([{"text": e["transcript"]} for e in events if e["type"] == COMPLETED]) != expected[number].text
            ):
                events += client.until(COMPLETED)
            deltas = [event["delta"] for event in events if event["type"] == DELTA]
            assert "".join(deltas).replace(" ", "") == expected[number].text.replace(" ", "")
            kinds = [event["type"] for event in events]
            assert kinds.index("input_audio_buffer.speech_started") < kinds.index(DELTA) < kinds.index(COMPLETED)


def test_deltas_come_while_the_person_is_speaking(address, utterances):
    with Realtime(address) as client:
        client.update(turn_detection=None)
        client.append(utterances[2])
        assert client.until(DELTA)[-1]["delta"]
        client.tell("input_audio_buffer.commit")
        assert client.until(COMPLETED)[-1]["transcript"]


def test_mistakes_of_a_realtime_client_are_events_and_go_by(address, utterances, expected):
    with Realtime(address) as client:
        for message in ("no json", "[1]", '{"type": "other"}', '{"type": "session.update", "session": 3}'):
            client.socket.send(message)
            assert client.event()["type"] == "error"
        client.socket.send(b"binary")
        assert client.event()["type"] == "error"
        for audio in (None, "???", base64.b64encode(b"abc").decode()):
            client.tell("input_audio_buffer.append", audio=audio)
            assert client.event()["type"] == "error"
        client.tell("input_audio_buffer.commit")
        assert "empty" in client.event()["error"]["message"]
        for rate in (1, 10_000_000, "x"):
            assert str(rate) in client.update(rate=rate)["error"]["message"]
        client.update()
        client.append(utterances[0])
        client.tell("input_audio_buffer.commit")
        assert client.until(COMPLETED)[-1]["transcript"] == expected[0].text
