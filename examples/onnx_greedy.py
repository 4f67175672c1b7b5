"""Transcribe audio files without PyTorch: python examples/onnx_greedy.py [--stream] DIR FILE..."""

import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from onnxruntime import InferenceSession

stream, given = "--stream" in sys.argv, [argument for argument in sys.argv[1:] if argument != "--stream"]
if len(given) < 2:
    sys.exit(__doc__)
folder = Path(given[0])  # that `rnnt export --format onnx` wrote
config = json.loads((folder / "config.json").read_text("utf-8"))
names = [line.rpartition(" ")[0] for line in (folder / "tokens.txt").read_text("utf-8").split("\n")]
names = [bytes([int(name[3:5], 16)]) if name[:3] == "<0x" else name.encode() for name in names]
encoder, decoder = (InferenceSession(folder / x) for x in (f"encoder{'-stream' * stream}.onnx", "decoder_joint.onnx"))


def start(graph):  # the states, which follow two other inputs: zeros
    return {x.name: np.zeros((1, *x.shape[1:]), "f4" if "float" in x.type else "i8") for x in graph.get_inputs()[2:]}


def encode(samples):  # yields encoder frames (T, D), of 4 at a time in a stream
    if not stream:
        return (yield encoder.run(None, {"audio": samples[None], "num_samples": np.array([len(samples)])})[0][0])
    (step, prefix, late), state = (config["stream"][key] for key in ("step", "prefix", "late")), start(encoder)
    padded, size = np.pad(samples, (0, prefix + (late + 4) * step)), 4 * step
    state["past"][0, state["past"].shape[1] - prefix :] = padded[:prefix]
    for end in range(prefix + size, len(samples) + prefix + late * step + size, size):
        total = np.array([-1 if end <= len(samples) else len(samples)])  # -1: there is more to come
        chunk = {"audio": padded[None, end - size : end], "num_samples": total}
        rows, first, last, *after = encoder.run(None, chunk | state)
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
    print(f"{path}\t{text.removeprefix('' if config['tokenizer'] == 'characters' else ' ')}")
