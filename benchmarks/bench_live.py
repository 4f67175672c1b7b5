"""Measure `rnnt serve`: how many live streams it holds, its memory while clients come and go, and recordings.

    python benchmarks/bench_live.py MODEL SPLIT [--streams 8 16 32] [--soak MINUTES] [--files] [--save]

MODEL is a run or a model that streams, or the name of a preset. A preset's network has random weights, except for a few
that make it emit two or three symbols a second. The server is a process of its own, and all clients
are another one on the same machine, so a server whose clients are elsewhere holds more.

A client plays utterances in real time, in chunks of 60 ms, through Vosk's protocol: a new connection for each stream of
some seconds. The latency is the time from the last chunk to the final text. A number of streams is held if the
latency is at most 0.5 s for 95 % of them. "late" is how much later than planned the clients sent, 95 %: if it is not
small, the clients are what limits.

--soak: clients come and go for some minutes; the memory of the server after 2 minutes and at the end.
--files: 8 clients that send the split's utterances as WAV files, in turns with `transcribe_files` of the same files.
Each file holds so many utterances that it lasts at least --file-seconds.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import soundfile
from memory import status_kib
from results import append_rows
from speaking_model import random_recognizer
from websockets.asyncio.client import connect

import rnnt
from rnnt.dataset import Dataset
from rnnt.recognizer import Recognizer
from rnnt.transcription import transcribe_files

CHUNK_SECONDS = 0.06
HELD_SECONDS = 0.5  # the longest latency of streams that are held
CLIENTS = 8  # that send files


def streams_of(inputs: Sequence[np.ndarray], least: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield utterances for ever, joined to streams of at least so many samples."""
    rng, found = random.Random(seed), []
    while True:
        found.append(rng.choice(inputs))
        if sum(map(len, found)) >= least:
            yield np.concatenate(found)
            found = []


@contextmanager
def serving(model: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Run `rnnt serve`. Gives its address and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "rnnt.cli", "serve", str(model), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    address = f"127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit("error: rnnt serve ended; its message is above")
            try:
                httpx.get(f"http://{address}/health").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield address, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


async def play(address: str, samples: np.ndarray, rate: int) -> tuple[float, list[float], int]:
    """Play one stream in real time. Return its latency, how late each chunk was sent, and the number of words."""
    size = round(CHUNK_SECONDS * rate)
    async with connect(f"ws://{address}/vosk", compression=None) as client:
        results: list[str] = []

        async def read() -> None:
            async for message in client:
                answer = json.loads(message)
                if "error" in answer:
                    raise RuntimeError(answer["error"]["message"])
                if "text" in answer:
                    results.append(answer["text"])

        reader = asyncio.create_task(read())
        await client.send(json.dumps({"config": {"sample_rate": rate}}))
        begin, late = time.perf_counter(), []
        for place in range(0, len(samples), size):
            chunk = samples[place : place + size]
            due = begin + (place + len(chunk)) / rate  # a microphone has the chunk when its last sample is heard
            await asyncio.sleep(due - time.perf_counter())
            late.append(time.perf_counter() - due)
            await client.send(chunk.tobytes())
        end = time.perf_counter()
        await client.send('{"eof": 1}')
        await reader
        return time.perf_counter() - end, late, sum(len(text.split()) for text in results)


async def crowd(
    address: str, count: int, seconds: float, inputs: Sequence[np.ndarray], rate: int, least: float
) -> dict:
    """Keep `count` clients busy for so many seconds. Return a row of what they saw."""
    latencies, late, words = [], [], 0
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal words
        await asyncio.sleep(number / count * 2)  # they do not start together
        for samples in streams_of(inputs, round(least * rate), number):
            if time.perf_counter() > until:
                return
            latency, delays, found = await play(address, samples, rate)
            latencies.append(latency)
            late.extend(delays)
            words += found

    await asyncio.gather(*(client(number) for number in range(count)))
    return {
        "streams": count, "finished": len(latencies), "words": words,
        "median_ms": 1000 * median(latencies), "p95_ms": 1000 * float(np.quantile(latencies, 0.95)),
        "max_ms": 1000 * max(latencies), "late_p95_ms": 1000 * float(np.quantile(late, 0.95)),
    }  # fmt: skip


def soak(address: str, pid: int, minutes: float, count: int, inputs: Sequence[np.ndarray], rate: int) -> dict:
    """Let clients of one to three seconds come and go. Return a row with the memory."""
    after: dict[float, float] = {}

    async def watch() -> None:
        begin = time.perf_counter()
        for minute in sorted({min(2.0, minutes / 2), minutes}):
            await asyncio.sleep(begin + 60 * minute - time.perf_counter())
            after[minute] = status_kib("VmRSS", pid) / 1024

    async def both() -> dict:
        row, _ = await asyncio.gather(crowd(address, count, 60 * minutes, inputs, rate, 1.0), watch())
        return row

    row = asyncio.run(both())
    first, last = after.values()
    return row | {"minutes": minutes, "first_mb": first, "last_mb": last, "growth": last / first - 1}


def write_files(inputs: Sequence[np.ndarray], rate: int, least: float, folder: Path) -> list[Path]:
    """Write each utterance once, joined to recordings of at least so many seconds. Return their files."""
    files, joined = [], []
    for samples in inputs:
        joined.append(samples)
        if sum(map(len, joined)) >= least * rate:
            files.append(folder / f"{len(files)}.wav")
            soundfile.write(files[-1], np.concatenate(joined), rate)
            joined = []
    return files


async def upload(address: str, files: Sequence[Path]) -> int:
    """Send files from CLIENTS clients. Return the number of words that came back."""
    waiting, words = iter(files), 0
    async with httpx.AsyncClient(timeout=600) as client:

        async def send() -> None:
            nonlocal words
            for file in waiting:
                body = {"file": (file.name, file.read_bytes())}
                answer = await client.post(f"http://{address}/v1/audio/transcriptions", files=body)
                answer.raise_for_status()
                words += len(answer.json()["text"].split())

        await asyncio.gather(*(send() for _ in range(CLIENTS)))
    return words


def compare_files(address: str, recognizer: Recognizer, files: Sequence[Path], repeats: int) -> dict:
    """Time recordings through the server and through `transcribe_files`, in turns. Return a row."""
    seconds: dict[str, list[float]] = {"served": [], "plain": []}
    words: dict[str, int] = {}
    for number in range(repeats + 1):
        for name in seconds:
            begin = time.perf_counter()
            if name == "served":
                words[name] = asyncio.run(upload(address, files))
            else:
                words[name] = sum(len(result.text.split()) for _, result in transcribe_files(recognizer, list(files)))
            if number:  # the first turn does not count
                seconds[name].append(time.perf_counter() - begin)
    assert words["served"] == words["plain"], words
    ratios = [plain / served for served, plain in zip(*seconds.values())]
    return {
        "files": len(files), "words": words["served"], "served_seconds": median(seconds["served"]),
        "plain_seconds": median(seconds["plain"]), "of_plain": median(ratios), "of_plain_min": min(ratios),
        "of_plain_max": max(ratios),
    }  # fmt: skip


def main() -> None:
    """Run as the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run or a model, or a preset")
    parser.add_argument("split", type=Path)
    parser.add_argument("changes", nargs="*", help="settings of a preset, such as model.encoder.lstm.hidden=512")
    parser.add_argument("--streams", type=int, nargs="*", default=[], help="numbers of streams; ends when not held")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each number of streams")
    parser.add_argument("--least", type=float, default=6.0, help="seconds of a stream, at least")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--files", action="store_true")
    parser.add_argument("--file-seconds", type=float, default=0.0)
    parser.add_argument("--utterances", type=int, default=500, help="of the split, at most")
    parser.add_argument("--repeats", type=int, default=3, help="turns of --files")
    parser.add_argument("--save", action="store_true", help="append the rows to benchmarks/results/live.csv")
    args = parser.parse_args()
    data = Dataset(args.split)
    inputs, rate = [data.read(i)[0].input for i in range(min(len(data), args.utterances))], data.sample_rate
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(args.model)
        if not model.exists():
            model = Path(folder) / "model"
            random_recognizer(args.model, inputs[:8], args.changes).save(model)
        recognizer = rnnt.load(model)
        about = {"model": Path(args.model).name, "parameters": recognizer.model.num_parameters()}
        about |= {"changes": " ".join(args.changes)}
        with serving(model, "--streams", str(max([64, *args.streams]))) as (address, pid):
            for count in args.streams:
                row = asyncio.run(crowd(address, count, args.seconds, inputs, rate, args.least))
                rows.append(about | {"measured": "streams"} | row)
                print(rows[-1], flush=True)
                if row["p95_ms"] > 1000 * HELD_SECONDS:
                    break
            if args.soak:
                rows.append(about | {"measured": "memory"} | soak(address, pid, args.soak, 8, inputs, rate))
                print(rows[-1], flush=True)
            if args.files:
                files = write_files(inputs, rate, args.file_seconds, Path(folder))
                row = {"measured": "files", "file_seconds": args.file_seconds}
                rows.append(about | row | compare_files(address, recognizer, files, args.repeats))
                print(rows[-1], flush=True)
    if args.save and rows:
        print("added to", os.path.relpath(append_rows("live", rows)))


if __name__ == "__main__":
    main()
