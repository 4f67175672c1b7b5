"""The WebSocket protocol of sherpa-onnx's streaming server: float32 samples, `Done` at the end, results as JSON.

The samples are at the model's rate. Every change of the text is sent, with the number of its segment. After the last
result comes `Done!`.
"""

from __future__ import annotations

import numpy as np

from rnnt.serve.audio import samples_of
from rnnt.serve.live_engine import LiveEngine
from rnnt.serve.socket import Socket
from rnnt.tokenizer import Tokenizer
from rnnt.transcript import Transcript

_DONE = "Done"


async def serve_sherpa(socket: Socket, engine: LiveEngine) -> None:
    """Serve one client until the end of its stream. Raises ValueError for what is no message of the protocol."""
    session = engine.open(engine.recognizer.config.features.sample_rate)
    tokenizer, segment, shown = engine.recognizer.tokenizer, 0, ""
    try:
        async for messages in socket.messages():
            chunks, ends = [], False
            for message in messages:
                if isinstance(message, bytes):
                    chunks.append(samples_of(message, "float32"))
                elif message == _DONE:
                    ends = True
                else:
                    raise ValueError(f"a text message must be {_DONE}; audio belongs into binary messages")
            update = await session.accept(np.concatenate(chunks) if chunks else np.zeros(0, np.float32), ends)
            for final in update.finals:
                await socket.send(_message(final, tokenizer, segment, True, False))
                segment, shown = segment + 1, ""
            if ends:
                end = Transcript("", [], [], [], [], update.partial.seconds)
                await socket.send(_message(end, tokenizer, segment, True, True))
                await socket.send(f"{_DONE}!")
                return
            if update.partial.text != shown:
                shown = update.partial.text
                await socket.send(_message(update.partial, tokenizer, segment, False, False))
    finally:
        session.close()


def _message(transcript: Transcript, tokenizer: Tokenizer, segment: int, final: bool, last: bool) -> dict:
    start = transcript.segments[0].start if transcript.segments else 0.0
    return {
        "text": transcript.text,
        "tokens": [tokenizer.symbols[token] for token in transcript.tokens],
        "timestamps": [round(time - start, 3) for time in transcript.times],
        "words": [[word.word, word.start, word.end, round(word.confidence, 6)] for word in transcript.words],
        "segment": segment,
        "start_time": start,
        "is_final": final,
        "is_eof": last,
    }
