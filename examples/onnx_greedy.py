"""Transcribe audio files without PyTorch: python examples/onnx_greedy.py [--stream] DIR FILE..."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile

stream, given = "--stream" in sys.argv, [argument for argument in sys.argv[1:] if argument != "--stream"]
if len(given) < 2:
    sys.exit(__doc__)
folder = Path(given[0])  # that `rnnt export --format onnx` wrote
config = json.loads((folder / "config.json").read_text("utf-8"))
names = [line.rpartition(" ")[0].encode() for line in (folder / "tokens.txt").read_text("utf-8").split("\n")[:-1]]
names = [bytes([int(name[3:5], 16)]) if name[:3] == b"<0x" else name for name in names]
files = "encoder-stream.onnx" if stream else "encoder.onnx", "decoder_joint.onnx"
encoder, decoder = (onnxruntime.InferenceSession(str(folder / name)) for name in files)
kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def start(graph):  # the states, which follow two other inputs: zeros
    return {x.name: np.zeros((1, *x.shape[1:]), kinds[x.type]) for x in graph.get_inputs()[2:]}


def encode(samples):  # yields encoder frames (T, D), of 4 at a time in a stream
    if not stream:
        yield encoder.run(None, {"audio": samples[None], "num_samples": np.array([len(samples)])})[0][0]
        return
    (step, prefix, late), state = (config["stream"][key] for key in ("step", "prefix", "late")), start(encoder)
    padded, size = np.pad(samples, (0, prefix + (late + 4) * step)), 4 * step
    state["past"][0, state["past"].shape[1] - prefix :] = padded[:prefix]
    for end in range(prefix + size, len(samples) + prefix + late * step + size, size):
        chunk = padded[end - size : end]
        total = np.array([-1 if end <= len(samples) else len(samples)])  # -1: there is more to come
        rows, first, last, *after = encoder.run(None, {"audio": chunk[None], "num_samples": total, **state})
        state = dict(zip(state, after))
        yield rows[0, first[0] : last[0]]


for path in given[1:]:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == config["sample_rate"], f"{path} is at {rate} Hz; convert it to {config['sample_rate']} Hz"
    found, symbol, state = [], config["blank"], start(decoder)
    for frame in (frame for frames in encode(samples.mean(1)) for frame in frames):
        for _ in range(config["max_symbols_per_frame"]):
            logits, *after = decoder.run(None, {"encoder": frame[None, None], "symbols": np.array([symbol]), **state})
            if (best := int(logits.argmax())) == config["blank"] or len(found) == config["max_symbols"]:
                break
            found, symbol, state = [*found, best], best, dict(zip(state, after))
    text = b"".join(names[symbol] for symbol in found).decode("utf-8", "replace").replace("▁", " ")
    print(f"{path}\t{text if config['tokenizer'] == 'characters' else text.removeprefix(' ')}")
