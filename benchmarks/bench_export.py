"""Measure exported models: what they lose on a split, and their speed and memory next to torch.

    python benchmarks/bench_export.py accuracy MODEL SPLIT --fit DEV [--format sherpa] [--save]
    python benchmarks/bench_export.py speed [--preset librispeech-mlperf] [--batch 1 16] [--repeats 3] [--save]

accuracy: every way to run the format, in float32 and with 8 bits that were fitted on DEV, against torch on SPLIT.
"differ" is the number of utterances whose symbols are not those of torch. sherpa-onnx and onnx-asr themselves run too.

speed: a network of the preset's size with random weights that emits two or three symbols a second, on utterances of 12
seconds. torch computes word times and confidences too. onnx-asr computes other features, so it has the network with its
own; the others have those of sherpa-onnx. Each program runs in a process of its own with two threads, the programs
take turns, and the memory is the peak of the process. A batch is what the program gets at once: torch and sherpa-onnx
decode it together, ONNX Runtime encodes it together and decodes one utterance after the other.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from memory import status_kib

SECONDS, THREADS, RATE = 12.0, 2, 16000
FEATURES = {"torch": "sherpa-offline", "onnx": "sherpa-offline", "sherpa": "sherpa-offline", "onnx-asr": "nemo"}


def noises(count: int) -> list[np.ndarray]:
    """Utterances in [-1, 1], as loud as speech and as varied."""
    rng = np.random.default_rng(0)
    size = round(SECONDS * RATE)
    loudness = [
        np.interp(np.arange(size) / 1600, np.arange(size // 1600 + 2), x)
        for x in rng.uniform(-2.5, 0, (count, size // 1600 + 2))
    ]
    return [np.clip(rng.standard_normal(size) * 0.2 * 10**x, -1, 1).astype(np.float32) for x in loudness]


def prepare(preset: str, folder: Path) -> None:
    """Write the model with the features of each program, and its exports in float32 and with 8 bits."""
    from speaking_model import random_recognizer

    from rnnt.export.exporting import FORMATS
    from rnnt.export.weights import quantize

    for name, features in FEATURES.items():
        heard = [np.round(x * 32767).astype(np.int16) for x in noises(2)]
        recognizer = random_recognizer(preset, heard, [f"features={features}"])
        if name == "torch":
            recognizer.save(folder / name)
            continue
        kind = FORMATS[name]
        graphs = kind.graphs(recognizer)
        for weights in ("float32", "int8"):
            (folder / f"{name}-{weights}").mkdir()
            changed = graphs if weights == "float32" else {file: quantize(graph, []) for file, graph in graphs.items()}
            kind.write(recognizer, changed, folder / f"{name}-{weights}", weights)


def open_sherpa(folder: Path, online: bool, **options: int) -> Any:
    """Return sherpa-onnx's recognizer of streams or of recordings. options: those that are not its own defaults."""
    import sherpa_onnx

    (encoder,) = folder.glob("encoder*.onnx")
    files = {
        part: str(encoder.with_name(encoder.name.replace("encoder", part))) for part in ("encoder", "decoder", "joiner")
    }
    files["tokens"] = str(folder / "tokens.txt")
    if online:
        return sherpa_onnx.OnlineRecognizer.from_transducer(**files, **options)
    return sherpa_onnx.OfflineRecognizer.from_transducer(**files, model_type="nemo_transducer", **options)


def opened(program: str, folder: Path) -> Callable[[Sequence[np.ndarray]], int]:
    """Return a function that transcribes a batch with a program, and returns the number of symbols."""
    name, _, weights = program.partition(" ")
    if name == "torch":
        import torch

        import rnnt

        torch.set_num_threads(THREADS)
        recognizer = rnnt.load(folder / "torch")
        return lambda batch: sum(
            len(x.tokens) for x in recognizer.transcribe([np.round(x * 32767).astype(np.int16) for x in batch])
        )
    model = folder / f"{name}-{weights}"
    if name == "sherpa":
        recognizer = open_sherpa(model, False, num_threads=THREADS)

        def run_sherpa(batch: Sequence[np.ndarray]) -> int:
            streams = [recognizer.create_stream() for _ in batch]
            for stream, samples in zip(streams, batch):
                stream.accept_waveform(RATE, samples)
            recognizer.decode_streams(streams)
            return sum(len(stream.result.tokens) for stream in streams)

        return run_sherpa
    if name == "onnx-asr":
        import onnx_asr
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        loaded = onnx_asr.load_model(
            "nemo-conformer-rnnt", model, quantization="int8" if weights == "int8" else None, sess_options=options
        ).with_timestamps()
        return lambda batch: sum(len(x.tokens or []) for x in loaded.recognize(list(batch), sample_rate=RATE))
    from rnnt.export.runtime import PlainEngine, greedy_symbols, open_session

    encoder, decoder = (open_session(model / file, THREADS) for file in ("encoder.onnx", "decoder_joint.onnx"))
    about = json.loads((model / "config.json").read_text())
    engine = PlainEngine(encoder, decoder, about["blank"])

    def run_onnx(batch: Sequence[np.ndarray]) -> int:
        frames, lengths = encoder.run(
            None, {"audio": np.stack(batch), "num_samples": np.array([len(x) for x in batch])}
        )
        limits = about["max_symbols_per_frame"], 10**9
        return sum(len(greedy_symbols(engine, x[:n], *limits)) for x, n in zip(frames, lengths))

    return run_onnx


def time_program(program: str, folder: Path, batch: int, count: int) -> dict:
    """Transcribe `count` utterances in batches, after one that does not count. Return a row."""
    run = opened(program, folder)
    utterances = noises(count)
    run(utterances[:batch])
    begin, symbols = time.perf_counter(), 0
    for first in range(0, count, batch):
        symbols += run(utterances[first : first + batch])
    seconds = time.perf_counter() - begin
    return {"real_time": count * SECONDS / seconds, "symbols": symbols, "peak_mib": status_kib("VmHWM") / 1024}


def compare_speed(preset: str, batches: Sequence[int], count: int, repeats: int) -> list[dict]:
    """Return a row for each program and batch."""
    programs = [
        "torch",
        *(f"{name} {weights}" for name in FEATURES if name != "torch" for weights in ("float32", "int8")),
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(preset, Path(folder))
        for batch in batches:
            found: dict[str, list[dict]] = {program: [] for program in programs}
            for _ in range(repeats):
                for program in programs:
                    command = [sys.executable, __file__, "one", program, folder, str(batch), str(max(count, batch))]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        raise SystemExit(f"error: {program}: {done.stderr.strip()[-2000:]}")
                    found[program].append(json.loads(done.stdout.splitlines()[-1]))
            for program, runs in found.items():
                speeds = [run["real_time"] for run in runs]
                name, _, weights = program.partition(" ")
                files = [x for x in (Path(folder) / program.replace(" ", "-")).iterdir() if "stream" not in x.name]
                rows.append(
                    {
                        "measured": "speed", "model": preset, "program": name, "weights": weights or "float32",
                        "batch": batch, "real_time": median(speeds), "least": min(speeds), "most": max(speeds),
                        "peak_mib": max(run["peak_mib"] for run in runs), "symbols": runs[0]["symbols"],
                        "mb": sum(x.stat().st_size for x in files if x.is_file()) / 1e6,
                    }
                )  # fmt: skip
                print(rows[-1], flush=True)
    return rows


def compare_accuracy(model: str, split: Path, fit: Path, kind: str) -> list[dict]:
    """Return a row for torch, and for each way to run the format in float32 and with 8 bits."""
    import rnnt
    from rnnt.dataset import Dataset
    from rnnt.export.check import check_engine, read_references
    from rnnt.export.exporting import FORMATS
    from rnnt.export.format import graph_bytes
    from rnnt.export.int8 import fit_int8

    def silent(items: Sequence, total: int, name: str) -> Sequence:
        return items

    recognizer, chosen = rnnt.load(model), FORMATS[kind]
    graphs = chosen.graphs(recognizer)
    fitting, first = read_references(recognizer, Dataset(fit), silent)
    quantized = fit_int8(chosen, recognizer, graphs, fitting, first.rate + 0.001, silent)
    references, torch_result = read_references(recognizer, Dataset(split), silent)
    results = [("float32", torch_result)]
    for weights, changed in (("float32", graphs), ("int8", quantized.graphs)):
        for name, make in chosen.engines(recognizer, changed).items():
            size = graph_bytes(changed)
            results.append((weights, check_engine(name, recognizer, make, size, references, silent)))
    if kind != "onnx":
        results.append(("float32", run_program(chosen, recognizer, graphs, Dataset(split), torch_result)))
    rows = [
        {
            "measured": "accuracy", "model": Path(model).name, "split": "/".join(split.parts[-2:]),
            "program": x.name, "weights": weights,
            "utterances": len(references), "wer": x.rate, "differing": x.differing, "logits": x.largest,
            "mb": x.bytes / 1e6, "kept": " ".join(quantized.kept) if weights == "int8" else "",
        }
        for weights, x in results
    ]  # fmt: skip
    for row in rows:
        print(row, flush=True)
    return rows


def run_program(kind: Any, recognizer: Any, graphs: Any, dataset: Any, expected: Any) -> Any:
    """Transcribe a split with the program that a format is for. "differ" counts the texts that are not those of torch.

    Streams of sherpa-onnx need silence at the end and do not decode the last chunk. So torch gets the utterances with
    at least 0.5 s of silence, up to the end of a chunk, and sherpa-onnx with one chunk more.
    """
    from rnnt.export.sherpa import CHUNK_ROWS, is_for_streams

    online = kind.name == "sherpa" and is_for_streams(recognizer)
    stride, hop = recognizer.config.features.stack * recognizer.model.encoder.stride, recognizer.config.features.hop
    chunk, differing = CHUNK_ROWS * stride * hop, 0
    with tempfile.TemporaryDirectory() as folder:
        kind.write(recognizer, graphs, Path(folder), "float32")
        read = _reader(kind.name, Path(folder), online, recognizer.config.features.mels)
        for index in range(len(dataset)):
            samples = dataset.read(index)[0].input
            if online:
                silence = RATE // 2 + -(len(samples) + RATE // 2) % chunk
                samples = np.concatenate([samples, np.zeros(silence, np.int16)])
            (wanted,) = recognizer.transcribe([samples])
            given = np.concatenate([samples, np.zeros(chunk * online, np.int16)])
            differing += read(given.astype(np.float32) / 32768).split() != wanted.text.split()
    name = f"{kind.name}{' online' if online else ''}, the program"
    return replace(expected, name=name, rate=float("nan"), differing=differing, largest=float("nan"), bytes=0)


def _reader(kind: str, folder: Path, online: bool, mels: int) -> Callable[[np.ndarray], str]:
    if kind == "onnx-asr":
        import onnx_asr

        loaded = onnx_asr.load_model("nemo-conformer-rnnt", folder)
        return lambda samples: loaded.recognize(samples, sample_rate=RATE)
    recognizer = open_sherpa(folder, online, feature_dim=mels)
    if not online:

        def read(samples: np.ndarray) -> str:
            stream = recognizer.create_stream()
            stream.accept_waveform(RATE, samples)
            recognizer.decode_stream(stream)
            return stream.result.text

        return read

    def read_stream(samples: np.ndarray) -> str:
        stream = recognizer.create_stream()
        for first in range(0, len(samples), 960):
            stream.accept_waveform(RATE, samples[first : first + 960])
            while recognizer.is_ready(stream):
                recognizer.decode_stream(stream)
        stream.input_finished()
        while recognizer.is_ready(stream):
            recognizer.decode_stream(stream)
        return recognizer.get_result(stream)

    return read_stream


def main() -> None:
    """Run as the module's docstring says."""
    if sys.argv[1:2] == ["one"]:
        program, folder, batch, count = sys.argv[2:]
        print(json.dumps(time_program(program, Path(folder), int(batch), int(count))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="measured", required=True)
    accuracy, speed = kinds.add_parser("accuracy"), kinds.add_parser("speed")
    accuracy.add_argument("model")
    accuracy.add_argument("split", type=Path)
    accuracy.add_argument("--fit", type=Path, required=True)
    accuracy.add_argument("--format", default="onnx")
    speed.add_argument("--preset", default="librispeech-mlperf")
    speed.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    speed.add_argument("--count", type=int, default=16, help="utterances")
    speed.add_argument("--repeats", type=int, default=3)
    for each in (accuracy, speed):
        each.add_argument("--save", action="store_true", help="append the rows to benchmarks/results/export.csv")
    args = parser.parse_args()
    if args.measured == "accuracy":
        rows = compare_accuracy(args.model, args.split, args.fit, args.format)
    else:
        rows = compare_speed(args.preset, args.batch, args.count, args.repeats)
    if args.save:
        from results import append_rows  # loads torch, which programs without it are measured without

        print("added to", os.path.relpath(append_rows("export", rows)))


if __name__ == "__main__":
    main()
