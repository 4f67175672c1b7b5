"""Transcribe audio files, or spell words, with a model that `rnnt export --format onnx` wrote, without PyTorch.

python examples/onnx_greedy.py [--stream] DIR FILE...
"""

import json
import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile

stream, (folder, *names) = "--stream" in sys.argv, [x for x in sys.argv[1:] if x != "--stream"]
folder = Path(folder)
config = json.loads((folder / "config.json").read_text("utf-8"))
tokens = [line.rpartition(" ")[0] for line in (folder / "tokens.txt").read_text("utf-8").split("\n")[:-1]]


def open_graph(name):
    return onnxruntime.InferenceSession(str(folder / name))


def zeros(graph, names=()):
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    return {x.name: np.zeros((1, *x.shape[1:]), kinds[x.type]) for x in graph.get_inputs() if x.name not in names}


def encode(graph, values):  # samples, or numbers of symbols: (N,)
    inputs = [x.name for x in graph.get_inputs()]
    return graph.run(None, dict(zip(inputs, [values[None], np.array([len(values)])])))[0][0]


def encode_chunks(graph, samples):
    """Yield the encoder frames (T, D) of each 240 ms."""
    step, prefix, late = (config["stream"][name] for name in ("step", "prefix", "late"))
    size, state = 4 * step, zeros(graph, ("audio", "num_samples"))
    state["past"][0, state["past"].shape[1] - prefix :][: len(samples)] = samples[:prefix]
    for start in range(0, len(samples) + late * step, size):
        chunk = samples[start + prefix : start + prefix + size]
        known = np.array([len(samples) if start + prefix + size > len(samples) else -1])
        given = {"audio": np.pad(chunk, (0, size - len(chunk)))[None], "num_samples": known}
        frames, first, end, *after = graph.run(None, given | state)
        yield frames[0, first[0] : end[0]]
        state = dict(zip(state, after))


def decode(graph, chunks):
    """Return the symbols that greedy search finds in chunks of encoder frames (T, D)."""
    found, symbol, state = [], config["blank"], zeros(graph, ("encoder", "symbols"))
    for frame in (frame for chunk in chunks for frame in chunk):
        for _ in range(config["max_symbols_per_frame"]):
            given = {"encoder": frame[None, None], "symbols": np.array([symbol])}
            logits, *after = graph.run(None, given | state)
            best = int(logits.argmax())
            if best == config["blank"] or len(found) == config["max_symbols"]:
                break
            symbol, state = best, dict(zip(state, after))
            found.append(best)
    return found


def text_of(found):
    data = b"".join(
        bytes([int(tokens[x][3:5], 16)]) if re.fullmatch("<0x..>", tokens[x]) else tokens[x].encode() for x in found
    )
    text = data.decode("utf-8", "replace").replace("▁", " ")
    return text if config["tokenizer"] == "characters" else text.removeprefix(" ")


encoder = open_graph("encoder-stream.onnx" if stream else "encoder.onnx")
decoder = open_graph("decoder_joint.onnx")
for name in names:
    if config["input"] == "symbols":
        alphabet = json.loads((folder / "alphabet.json").read_text("utf-8"))
        word = name if alphabet["unicode"] == "none" else unicodedata.normalize(alphabet["unicode"].upper(), name)
        numbers = {symbol: number for number, symbol in enumerate(alphabet["symbols"])}
        values = np.array([numbers.get(letter, len(numbers)) for letter in word])
    else:
        values, rate = soundfile.read(name, dtype="float32", always_2d=True)
        values = values.mean(1)
        if rate != config["sample_rate"]:
            sys.exit(f"{name} is at {rate} Hz and the model at {config['sample_rate']} Hz; convert it first")
    chunks = encode_chunks(encoder, values) if stream else [encode(encoder, values)]
    print(f"{name}\t{text_of(decode(decoder, chunks))}")
