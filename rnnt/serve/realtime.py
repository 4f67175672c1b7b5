"""The protocol of OpenAI's realtime transcription: events as JSON over a WebSocket, audio as base64.

Of the client's events it takes `session.update`, `input_audio_buffer.append`, `.commit` and `.clear`. An item of the
conversation is an utterance: it ends by a rule of endpoints, or by `commit` if `turn_detection` is null. Deltas come
while the person is speaking. If a beam changes its mind, they wait until the text goes on from what was sent; the
event `completed` has the whole text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import uuid4

import numpy as np

from rnnt.audio.sample_stream import SampleStream
from rnnt.decoding.endpoint import EndpointRules
from rnnt.serve.audio import samples_of_base64
from rnnt.serve.live_engine import LiveEngine, Session, Update
from rnnt.serve.socket import Socket
from rnnt.transcript import Transcript

_RATE = 24000  # of audio/pcm, if the session names no other


@dataclass
class _Settings:
    """Of a session. turns: utterances end by themselves."""

    rate: int = _RATE
    turns: bool = True
    silence: float = EndpointRules.rule2_min_trailing_silence
    hotwords: tuple[str, ...] = ()
    lm: str = ""


async def serve_realtime(socket: Socket, engine: LiveEngine, model: str) -> None:
    """Serve one client until it leaves. A mistake of the client is answered by an event `error`, and goes by.

    model: the name of the served model.
    """
    client = _Client(socket, engine, model)
    await client.tell("session.created", session=client.description())
    try:
        async for messages in socket.messages():
            for message in messages:
                try:
                    await client.obey(message)
                except ValueError as error:
                    await client.tell("error", error={"type": "invalid_request_error", "message": str(error)})
    finally:
        client.close()


class _Client:
    """One connection, and the utterance that is going on."""

    def __init__(self, socket: Socket, engine: LiveEngine, model: str):
        self._socket, self._engine, self._model = socket, engine, model
        self._settings = _Settings()
        self._session: Session | None = None
        self._id = f"sess_{uuid4().hex}"
        self._item, self._sent = f"item_{uuid4().hex}", ""

    def description(self) -> dict:
        """Return the settings as the protocol shows them."""
        settings = self._settings
        turns = (
            {"type": "server_vad", "silence_duration_ms": round(1000 * settings.silence)} if settings.turns else None
        )
        audio = {
            "format": {"type": "audio/pcm", "rate": settings.rate},
            "transcription": {"model": self._model},
            "turn_detection": turns,
        }
        return {"id": self._id, "object": "realtime.session", "type": "transcription", "audio": {"input": audio}}

    def close(self) -> None:
        """Free the stream."""
        if self._session is not None:
            self._session.close()
        self._session = None

    async def tell(self, kind: str, **fields: object) -> None:
        """Send an event."""
        await self._socket.send({"type": kind, "event_id": f"event_{uuid4().hex}", **fields})

    async def obey(self, message: str | bytes) -> None:
        """Do what an event of the client asks for. Raises ValueError for one that makes no sense."""
        if isinstance(message, bytes):
            raise ValueError("events are text; send audio as base64 in input_audio_buffer.append")
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            raise ValueError("the message is no JSON") from None
        kind = event.get("type") if isinstance(event, dict) else None
        if kind in ("session.update", "transcription_session.update"):
            await self._update(event.get("session"))
        elif kind == "input_audio_buffer.append":
            await self._append(samples_of_base64(event.get("audio")))
        elif kind == "input_audio_buffer.commit":
            await self._commit()
        elif kind == "input_audio_buffer.clear":
            self.close()
            self._item, self._sent = f"item_{uuid4().hex}", ""
            await self.tell("input_audio_buffer.cleared")
        else:
            raise ValueError(f"there is no event {str(kind)[:100]!r} here")

    async def _update(self, session: object) -> None:
        if self._session is not None:
            raise ValueError("the session can only be changed before its audio; commit or clear the buffer first")
        self._settings = _read_settings(session)
        await self.tell("session.updated", session=self.description())

    async def _append(self, samples: np.ndarray) -> None:
        if self._session is None:
            settings = self._settings
            rules = EndpointRules(rule2_min_trailing_silence=settings.silence) if settings.turns else None
            self._session = self._engine.open(settings.rate, settings.hotwords, settings.lm, rules)
        await self._show(await self._session.accept(samples))

    async def _commit(self) -> None:
        if self._session is None:
            raise ValueError("the buffer is empty; append audio first")
        update = await self._session.accept(np.zeros(0, np.int16), last=True)
        self.close()
        await self._show(update)
        if not update.finals:  # a client waits for the end of the item that it has committed
            await self._complete(Transcript("", [], [], [], [], update.partial.seconds))

    async def _show(self, update: Update) -> None:
        for final in update.finals:
            await self._delta(final)
            await self._complete(final)
        if update.partial.text:
            await self._delta(update.partial)

    async def _delta(self, transcript: Transcript) -> None:
        """Send what the text has got in addition. Nothing can be taken back."""
        text = transcript.text
        if not self._sent and text:
            start = round(1000 * (transcript.segments[0].start if transcript.segments else 0.0))
            await self.tell("input_audio_buffer.speech_started", item_id=self._item, audio_start_ms=start)
        if len(text) > len(self._sent) and text.startswith(self._sent):
            await self._tell_item("delta", delta=text[len(self._sent) :])
            self._sent = text

    async def _complete(self, final: Transcript) -> None:
        end = round(1000 * (final.segments[-1].end if final.segments else final.seconds))
        await self.tell("input_audio_buffer.speech_stopped", item_id=self._item, audio_end_ms=end)
        await self.tell("input_audio_buffer.committed", item_id=self._item)
        words = [{"word": word.word, "start": word.start, "end": word.end} for word in final.words]
        await self._tell_item("completed", transcript=final.text, words=words)
        self._item, self._sent = f"item_{uuid4().hex}", ""

    async def _tell_item(self, kind: str, **fields: object) -> None:
        name = f"conversation.item.input_audio_transcription.{kind}"
        await self.tell(name, item_id=self._item, content_index=0, **fields)


def _read_settings(session: object) -> _Settings:
    """Return the settings of `session.update`. Raises ValueError."""
    found = _Settings()
    audio = _object(_object(session, "session").get("audio", {}), "session.audio")
    given = _object(audio.get("input", {}), "session.audio.input")
    form = _object(given.get("format", {}), "format")
    if form.get("type", "audio/pcm") != "audio/pcm":
        raise ValueError(f"the format {str(form['type'])[:50]!r} is not known here; send audio/pcm")
    found.rate = form.get("rate", _RATE)
    if isinstance(found.rate, bool) or not isinstance(found.rate, int):
        raise ValueError(f"the rate is {str(found.rate)[:50]}; it must be a whole number")
    SampleStream(found.rate, 16000)  # raises if no recorder has the rate
    if "turn_detection" in given:
        turns = given["turn_detection"]
        found.turns = turns is not None
        if turns is not None:
            milliseconds = _object(turns, "turn_detection").get("silence_duration_ms", 1000 * found.silence)
            if (
                isinstance(milliseconds, bool)
                or not isinstance(milliseconds, (int, float))
                or not 0 < milliseconds < 1e6
            ):
                raise ValueError("silence_duration_ms must be above 0")
            found.silence = milliseconds / 1000
    transcription = _object(given.get("transcription", {}) or {}, "transcription")
    words = transcription.get("hotwords", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("hotwords must be a list of texts")
    found.hotwords, found.lm = tuple(words), str(transcription.get("lm", ""))
    return found


def _object(value: object, name: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object")
    return value
