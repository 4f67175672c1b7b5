"""The WebSocket protocol of Vosk's server: 16-bit samples in binary messages, results as JSON.

A first text message may hold `{"config": {"sample_rate": 16000, "words": true, "phrase_list": [...]}}`, and the last
one is `{"eof": 1}`. Each binary message is answered by `{"partial": ...}`, or by `{"result": [...], "text": ...}` at
the end of an utterance. One answer may be to several messages. In addition to what Vosk sends, `seconds` beside
`partial` is the audio that the text knows.
"""

from __future__ import annotations

import json

import numpy as np

from rnnt.serve.audio import samples_of
from rnnt.serve.live_engine import LiveEngine, Session, Update
from rnnt.serve.socket import Socket
from rnnt.transcript import Transcript


async def serve_vosk(socket: Socket, engine: LiveEngine) -> None:
    """Serve one client until the end of its stream. Raises ValueError for what is no message of the protocol."""
    session: Session | None = None
    config: dict = {}
    try:
        async for messages in socket.messages():
            chunks, ends = [], False
            for message in messages:
                if isinstance(message, bytes):
                    chunks.append(samples_of(message, "int16"))
                    continue
                order = _order(message)
                if "config" in order and session is None and not chunks:
                    config = order["config"]
                ends = ends or bool(order.get("eof"))
            if session is None:
                session = _open(engine, config)
            update = await session.accept(np.concatenate(chunks) if chunks else np.zeros(0, np.int16), ends)
            for answer in _answers(update, bool(config.get("words", True)), ends, bool(chunks)):
                await socket.send(answer)
            if ends:
                return
    finally:
        if session is not None:
            session.close()


def _open(engine: LiveEngine, config: dict) -> Session:
    rate, phrases = config.get("sample_rate", 16000), config.get("phrase_list", [])
    if isinstance(phrases, str):  # older clients send a list as JSON text
        phrases = json.loads(phrases)
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or rate != int(rate):
        raise ValueError(f"sample_rate is {rate!r}; it must be a whole number")
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise ValueError("phrase_list must be a list of texts")
    return engine.open(int(rate), tuple(phrase for phrase in phrases if phrase != "[unk]"))


def _order(message: str) -> dict:
    try:
        order = json.loads(message)
    except (ValueError, RecursionError):
        order = None
    if not isinstance(order, dict) or not (order.keys() & {"config", "eof", "reset"}):
        raise ValueError('a text message must be {"config": {...}} or {"eof": 1}; audio belongs into binary messages')
    if not isinstance(order.get("config", {}), dict):
        raise ValueError("config must be an object")
    return order


def _answers(update: Update, words: bool, ends: bool, heard: bool) -> list[dict]:
    found = [_result(final, words) for final in update.finals]
    if ends:
        return found or [{"text": ""}]
    return found or ([{"partial": update.partial.text, "seconds": update.partial.seconds}] if heard else [])


def _result(final: Transcript, words: bool) -> dict:
    if not words:
        return {"text": final.text}
    result = [
        {"conf": round(word.confidence, 6), "end": word.end, "start": word.start, "word": word.word}
        for word in final.words
    ]
    return {"result": result, "text": final.text}
