"""Measure greedy and beam search, next to a loop over the frames of one utterance after the other, and the encoder.

Both searches are measured with a 4-gram of about 100,000 entries too, which has a small weight.

    python benchmarks/bench_decoding.py [--device cuda] [--save]

The model has random weights, except for a few that make it emit one symbol at some of the frames, as a trained model
does (see `speak`). The loop steps nn.LSTM, as one would write it first; "loop, fast step" takes the predictor's own
step instead. Each repetition times all of them one after another, so that other work of the machine slows all alike.
"x real time" is the seconds of audio for a second of encoder and search.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from results import append_rows
from speaking_model import RATE, remember_kind

from rnnt.config import Config, DecodingConfig
from rnnt.decoding import beam, greedy
from rnnt.decoding.ngram import NGram
from rnnt.device import autocast
from rnnt.features import Features
from rnnt.model import Transducer
from rnnt.ngram.arpa import read_arpa
from rnnt.ngram.counts import FIRST_WORD
from rnnt.ngram.kneser_ney import estimate_arpa
from rnnt.ngram.tables import build_tables
from rnnt.settings import load_config


def speak(model: Transducer) -> None:
    """Let the model emit a symbol at frames whose first value is 1 or -1, and none at frames whose first value is 0.

    A 1 stands for the even symbols, a -1 for the odd ones. Unit 0 of the predictor tells of which kind the last symbol
    was, and the joint emits none of the same kind again. So one frame emits one symbol if the values alternate.
    """
    joint = model.joint
    even = torch.arange(model.blank) % 2 == 0
    with torch.no_grad():
        remember_kind(model.predictor, torch.where(even, 1.0, -1.0))
        for layer in (joint.encoder, joint.predictor):
            layer.weight[:2] = 0.0
            layer.bias[:2] = 0.0
        strength = torch.tensor([100.0, -100.0])
        joint.encoder.weight[:2, 0] = strength
        joint.predictor.weight[:2, 0] = -strength
        joint.encoder.bias[:2] = -70.0
        joint.output.weight[:, :2] = 0.0
        joint.output.weight[:-1, 0] = even * torch.rand(model.blank)
        joint.output.weight[:-1, 1] = ~even * torch.rand(model.blank)
        joint.output.bias[-1] += 10.0


def frames(batch: int, length: int, symbols: int, width: int, device: str) -> torch.Tensor:
    """Encoder frames (B, T, D), of which `symbols` in each utterance emit a symbol."""
    generator = torch.Generator().manual_seed(batch)
    x_BTD = torch.randn(batch, length, width, generator=generator)
    x_BTD[:, :, 0] = 0.0
    for x_TD in x_BTD:
        places = torch.randperm(length, generator=generator)[:symbols].sort().values
        x_TD[places[0::2], 0] = 1.0
        x_TD[places[1::2], 0] = -1.0
    return x_BTD.to(device)


@torch.inference_mode()
def loop(model: Transducer, encoder_BTD: torch.Tensor, config: DecodingConfig, fast_step: bool) -> list[list[int]]:
    """The symbols of each utterance, found one utterance, one frame and one symbol at a time."""
    results = []
    for encoder_TD in encoder_BTD:
        tokens: list[int] = []
        output, state = model.predictor.start(1)
        if not fast_step:
            output, state = model.predictor.lstm(output.new_zeros(1, 1, model.predictor.embedding.embedding_dim))
            output = output[:, 0]
        predicted = model.joint.predictor(output)
        for projected in model.joint.encoder(encoder_TD):
            for _ in range(config.max_symbols_per_frame):
                best = int(model.joint(projected, predicted).argmax())
                if best == model.blank or len(tokens) == config.max_symbols:
                    break
                tokens.append(best)
                symbol = torch.tensor([best], device=encoder_TD.device)
                if fast_step:
                    output, state = model.predictor.step(symbol, state)
                else:
                    output, state = model.predictor.lstm(model.predictor.embedding(symbol)[:, None], state)
                    output = output[:, 0]
                predicted = model.joint.predictor(output)
        results.append(tokens)
    return results


def language_model(symbols: int, device: str, entries: int = 100_000) -> NGram:
    """A 4-gram of about this many entries, of random texts in which a few symbols are frequent, as in speech."""
    generator = np.random.default_rng(0)
    names = [f"s{symbol}" for symbol in range(symbols)]
    frequency = 1 / np.arange(1, symbols + 1)
    # Each symbol begins three n-grams, most of which are new.
    text = generator.choice(symbols, (round(entries / 100), 38), p=frequency / frequency.sum()) + FIRST_WORD
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lm.arpa"
        counts = estimate_arpa(text, ["<unk>", "<s>", "</s>", *names], 4, path)
        assert 0.9 * entries < sum(counts) < 1.1 * entries, counts
        return NGram.of_tables(build_tables(read_arpa(path), names), 0.01, device)


def alternate(calls: dict[str, Callable], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each call, taken in turns; the first turn does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


def measure(model: Transducer, config: Config, batch: int, seconds: float, repeats: int, device: str) -> list[dict]:
    """A row for each of the loops, the searches without and with an n-gram, and the encoder, for this batch size."""
    features = Features(config.features)
    inputs = round(seconds / features.frame_seconds)
    length = -(-inputs // model.encoder.stride)
    symbols = round(seconds * RATE)
    encoder_BTD = frames(batch, length, symbols, model.encoder.width, device)
    lengths = torch.full((batch,), length, device=device)
    input_BSF = torch.randn(batch, inputs, model.inputs, device=device)

    lm = [language_model(model.blank, device)]
    width = config.decoding.beam

    def encode() -> None:
        with torch.inference_mode():
            model.encoder(input_BSF, torch.full((batch,), inputs, device=device))

    calls = {
        "loop": lambda: loop(model, encoder_BTD, config.decoding, False),
        "loop, fast step": lambda: loop(model, encoder_BTD, config.decoding, True),
        "greedy": lambda: [x.tokens for x in greedy(model, encoder_BTD, lengths, config.decoding)],
        "greedy, 4-gram": lambda: greedy(model, encoder_BTD, lengths, config.decoding, lm),
        f"beam of {width}": lambda: beam(model, encoder_BTD, lengths, config.decoding),
        f"beam of {width}, 4-gram": lambda: beam(model, encoder_BTD, lengths, config.decoding, lm),
        "encoder": encode,
    }
    expected = calls["loop"]()
    assert [len(tokens) for tokens in expected] == batch * [symbols]
    assert calls["greedy"]() == expected == calls["loop, fast step"]()
    found = greedy(model, encoder_BTD, lengths, config.decoding)
    for path, (best, *_) in zip(found, beam(model, encoder_BTD, lengths, config.decoding)):
        assert best.score > path.score - 1e-3 and len(best.tokens) == symbols
    times = alternate(calls, repeats, device)
    base, encoder = median(times["loop"]), median(times["encoder"])
    return [
        {
            "measured": name, "batch": batch, "seconds": seconds, "symbols": symbols, "repeats": repeats,
            "median_ms": 1000 * median(x), "min_ms": 1000 * min(x), "max_ms": 1000 * max(x),
            "times_loop": base / median(x), "of_encoder": median(x) / encoder,
            "real_time": batch * seconds / (encoder + (median(x) if name != "encoder" else 0.0)),
        }
        for name, x in times.items()
    ]  # fmt: skip


def main() -> None:
    """Print a table for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--preset", default="librispeech-mlperf")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=12.0, help="of audio in each utterance")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--save", action="store_true", help="append the rows to results/decoding.csv")
    args = parser.parse_args()
    config = load_config(args.preset)
    torch.manual_seed(0)
    model = Transducer(Features(config.features).width, config.tokenizer.size + 1, config.model).eval()
    speak(model)
    model.to(args.device)
    rows = []
    for batch in args.batch:
        print(
            f"\n batch of {batch:3d}         median ms       min       max   times the loop   of encoder  x real time"
        )
        with autocast(args.precision, torch.device(args.device)):
            found = measure(model, config, batch, args.seconds, args.repeats, args.device)
        for row in found:
            print(
                f" {row['measured']:18s}  {row['median_ms']:10.1f}  {row['min_ms']:8.1f}  {row['max_ms']:8.1f}  "
                f"{row['times_loop']:15.2f}  {100 * row['of_encoder']:9.1f} %  {row['real_time']:12,.0f}",
                flush=True,
            )
        rows += [{"preset": args.preset, "precision": args.precision, **row} for row in found]
    if args.save:
        print("saved in", append_rows("decoding", rows, args.device))


if __name__ == "__main__":
    main()
