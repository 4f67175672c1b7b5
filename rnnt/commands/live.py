"""The verb `live`."""

import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from rnnt.commands.terminal import (
    Decoding,
    Device,
    HotWords,
    IlmWeight,
    Lm,
    LmWeight,
    LodrWeight,
    json_line,
    show,
    warnings_shown,
)
from rnnt.text import visible

if TYPE_CHECKING:
    import numpy as np

    from rnnt.live import Stream
    from rnnt.transcript import Transcript

_ERASE = "\r\x1b[K"  # the line on a terminal


def live_command(
    model: Annotated[Path, typer.Argument(help="a run or a model that streams")],
    rate: Annotated[int, typer.Option(help="samples per second of the audio")] = 16000,
    chunk_ms: Annotated[int, typer.Option(help="milliseconds of audio that are transcribed at once", min=10)] = 60,
    microphone: Annotated[
        bool, typer.Option("--microphone", help="hear the microphone; so it is if standard input is a terminal")
    ] = False,
    vad: Annotated[
        bool, typer.Option("--vad", help="an utterance ends only after silence by a detector of voice activity too")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print an event a line, partial texts too")] = False,
    decoding: Decoding = None,
    hotwords: HotWords = None,
    lm: Lm = None,
    lm_weight: LmWeight = None,
    lodr_weight: LodrWeight = None,
    ilm_weight: IlmWeight = None,
    device: Device = "cpu",
) -> None:
    """Transcribe speech while it comes, from the microphone or as samples on standard input.

    The samples have 16 bits, little-endian, one channel and no header. On a terminal, the text of the present utterance
    is rewritten in place. Each utterance that has ended is a line. Control-C ends the stream of the microphone.

    Example: rnnt live runs/mine

    Example: arecord -q -f S16_LE -r 16000 -c 1 -t raw | rnnt live runs/mine
    """
    from rnnt.recognizer import load

    with warnings_shown():
        recognizer = load(model, device, decoding, hotwords, lm, lm_weight, lodr_weight, ilm_weight)
    stream = recognizer.stream(rate, voice=vad)
    printer = _Printer(as_json)
    size = max(rate * chunk_ms // 1000, 1)
    if microphone or sys.stdin.isatty():
        from rnnt.audio.microphone import microphone_chunks

        with warnings_shown(), _interruption() as interrupted:
            _transcribe(stream, microphone_chunks(rate, size, interrupted), printer)
    else:
        _transcribe(stream, _chunks(sys.stdin.buffer, size), printer)
    stream.finish()
    for final in stream.finals():
        printer.final(final)
    printer.close()


def _transcribe(stream: "Stream", chunks: "Iterable[np.ndarray]", printer: "_Printer") -> None:
    for samples in chunks:
        stream.accept(samples)
        for final in stream.finals():
            printer.final(final)
        if printer.shows_partials:
            printer.partial(stream.partial)


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Let Control-C end the loop of a block between two chunks. Gives a function that says whether it was pressed.

    Pressed again, it ends the program.
    """
    pressed = []

    def press(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _chunks(source: BinaryIO, size: int) -> "Iterator[np.ndarray]":
    """Yield the samples of a source, up to `size` at a time, as they come. Half a sample at the end is an error."""
    import numpy as np

    rest = b""
    while data := source.read1(2 * size):
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<i2")
    if rest:
        raise ValueError("standard input ends with half a sample; give 16-bit samples of one channel without a header")


class _Printer:
    """Prints the text of a stream as it comes."""

    def __init__(self, as_json: bool):
        self._as_json = as_json
        self._on_terminal = not as_json and sys.stdout.isatty()
        self._shown = ""
        self.shows_partials = as_json or self._on_terminal

    def partial(self, transcript: "Transcript") -> None:
        """Show the text that may still change, if it has changed."""
        if transcript.text == self._shown:
            return
        self._shown = transcript.text
        if self._as_json:
            self._event("partial", transcript)
        else:
            width = shutil.get_terminal_size().columns - 1
            print(_ERASE + visible(transcript.text)[-width:], end="", flush=True)

    def final(self, transcript: "Transcript") -> None:
        """Show the text of an utterance that has ended."""
        self._shown = ""
        if self._as_json:
            self._event("final", transcript)
        else:
            if self._on_terminal:
                print(_ERASE, end="")
            show(transcript.text)

    def close(self) -> None:
        """Take away a partial text that has come to nothing."""
        if self._on_terminal and self._shown:
            print(_ERASE, end="", flush=True)

    @staticmethod
    def _event(kind: str, transcript: "Transcript") -> None:
        words = [asdict(word) for word in transcript.words]
        event = {"event": kind, "text": transcript.text, "seconds": round(transcript.seconds, 3), "words": words}
        if kind == "final":
            (segment,) = transcript.segments
            event |= {"start": segment.start, "end": segment.end}
        print(json_line(event), flush=True)
