"""OpenAI's endpoint for recordings: POST /v1/audio/transcriptions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

import anyio.to_thread
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from rnnt.decoding.scorer import Scorer
from rnnt.formats import to_record, to_srt, to_vtt
from rnnt.recordings import End, Piece
from rnnt.serve.audio import decode_upload
from rnnt.serve.file_engine import FileEngine
from rnnt.serve.limits import Limits
from rnnt.serve.steering import Steering
from rnnt.text import one_line
from rnnt.transcript import Transcript

_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
_GRANULARITIES = ("segment", "word")


@dataclass(frozen=True)
class _Wish:
    """What a request asks for."""

    format: str
    granularities: tuple[str, ...]
    stream: bool
    hotwords: tuple[str, ...]
    lm: str


async def transcribe_request(request: Request, engine: FileEngine, steering: Steering, limits: Limits) -> Response:
    """Answer a request. Raises ValueError for one that makes no sense, and the errors of `FileEngine.transcribe`."""
    async with request.form(max_files=1, max_fields=1100) as form:
        wish = _read_wish(form)
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ValueError("the request has no file; send the recording as the field `file`")
        name = one_line(PurePath(file.filename or "recording").name)[:100]
        data = await file.read()

    def read() -> tuple[list[Piece | End], dict[str, Scorer]]:
        scorers = steering.scorers(wish.hotwords, wish.lm)
        samples = decode_upload(data, engine.grid.rate, name, limits.recording_seconds)
        return engine.grid.pieces(0, [samples]), scorers

    transcript = await engine.transcribe(*await anyio.to_thread.run_sync(read))
    if wish.stream:
        return StreamingResponse(_events(transcript), media_type="text/event-stream")
    return _answer(transcript, wish)


def _read_wish(form: FormData) -> _Wish:
    kind = str(form.get("response_format", "json"))
    if kind not in _FORMATS:
        raise ValueError(f"response_format is {kind[:50]!r}; it must be one of {', '.join(_FORMATS)}")
    # The clients write a list with brackets after its name.
    granularities = tuple(
        str(value) for key in ("timestamp_granularities[]", "timestamp_granularities") for value in form.getlist(key)
    )
    for value in granularities:
        if value not in _GRANULARITIES:
            raise ValueError(f"timestamp_granularities has {value[:50]!r}; it may have {' and '.join(_GRANULARITIES)}")
    if granularities and kind != "verbose_json":
        raise ValueError("timestamp_granularities needs response_format=verbose_json")
    stream = str(form.get("stream", "false")).lower()
    if stream not in ("true", "false", "1", "0"):
        raise ValueError(f"stream is {stream[:50]!r}; it must be true or false")
    hotwords = [str(value) for key in ("hotwords[]", "hotwords") for value in form.getlist(key)]
    phrases = tuple(phrase.strip() for text in hotwords for phrase in text.splitlines() if phrase.strip())
    return _Wish(kind, granularities or ("segment",), stream in ("true", "1"), phrases, str(form.get("lm", "")))


def _answer(transcript: Transcript, wish: _Wish) -> Response:
    if wish.format == "text":
        return PlainTextResponse(f"{transcript.text}\n")
    if wish.format == "srt":
        return PlainTextResponse(to_srt(transcript), media_type="application/x-subrip")
    if wish.format == "vtt":
        return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
    usage = {"type": "duration", "seconds": transcript.seconds}
    if wish.format == "json":
        return JSONResponse({"text": transcript.text, "usage": usage})
    record = to_record(transcript)
    found = {key: record[key] for key in ("task", "duration", "text")}
    if "segment" in wish.granularities:
        found["segments"] = record["segments"]
    if "word" in wish.granularities:
        found["words"] = record["words"]
    return JSONResponse({**found, "usage": usage})


def _events(transcript: Transcript) -> Iterator[str]:
    """Yield server-sent events: a delta for each segment, and the whole text."""
    for number, segment in enumerate(transcript.segments):
        delta = f" {segment.text}" if number else segment.text
        yield _event({"type": "transcript.text.delta", "delta": delta})
    yield _event({"type": "transcript.text.done", "text": transcript.text})
    yield "data: [DONE]\n\n"


def _event(content: dict) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
