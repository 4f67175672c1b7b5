"""Measure what hot words cost, and what they change.

    python benchmarks/bench_hotwords.py speed [--device cuda] [--save]
    python benchmarks/bench_hotwords.py quality MODEL --data DATA/SPLIT [--save]

speed: greedy search and beam search with 20,000 phrases, next to the same searches without. The model is that of
`bench_decoding.py`, with a tokenizer of word pieces. The searches take turns. On a CPU the process's own time counts,
not that in which other work of the machine held it up, and the least of all repetitions.

quality: transcripts that change if 1,000 phrases are favoured that nobody says, and words in twenty minutes of silence
and noise with them. Then the recall of the split's own rare words if these are among the phrases.
"""

import argparse
import itertools
import random
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bench_decoding import RATE, frames, speak
from results import append_rows

from rnnt.config import TokenizerConfig
from rnnt.dataset import Dataset
from rnnt.decoding import Scorer, beam, greedy
from rnnt.decoding.hotwords import hot_words
from rnnt.error_rate import Pair, word_error_rate
from rnnt.features import Features
from rnnt.model import Transducer
from rnnt.recognizer import Recognizer, load
from rnnt.settings import load_config
from rnnt.tokenizer import UnknownSymbolError, train_tokenizer

_SYLLABLES = [a + b for a in "b d f g k l m n p r s t v z ch sh".split() for b in "a e i o u ai or".split()]  # noqa: SIM905


def names(count: int) -> list[str]:
    """Phrases of one to three made-up words."""
    generator, found = random.Random(0), set()
    while len(found) < count:
        words = (
            "".join(generator.choices(_SYLLABLES, k=generator.randint(2, 4))) for _ in range(generator.randint(1, 3))
        )
        found.add(" ".join(words))
    return sorted(found)


def speed(args: argparse.Namespace) -> list[dict]:
    """A row for each search, with phrases and without."""
    config, phrases = load_config("librispeech-mlperf"), names(args.phrases)
    print(f"learning a tokenizer of {config.tokenizer.size} pieces, and building the trie", flush=True)
    tokenizer = train_tokenizer(phrases, TokenizerConfig(size=config.tokenizer.size))
    torch.manual_seed(0)
    features = Features(config.features)
    model = Transducer(features.width, len(tokenizer) + 1, config.model).eval()
    speak(model)
    model.to(args.device)
    scorer = hot_words(phrases, tokenizer, args.device)
    rows = []
    for batch in args.batch:
        length = round(args.seconds / features.frame_seconds) // model.encoder.stride
        encoder_BTD = frames(batch, length, round(args.seconds * RATE), model.encoder.width, args.device)
        lengths = torch.full((batch,), length, device=args.device)
        how = model, encoder_BTD, lengths, config.decoding
        calls = {
            f"{search.__name__}{' with phrases' if scorers else ''}": partial(search, *how, scorers)
            for search in (greedy, beam)
            for scorers in ((), (scorer,))
        }
        times = take_turns(calls, args.repeats, args.device)
        for name, seconds in times.items():
            extra = min(seconds) / min(times[name.removesuffix(" with phrases")]) - 1
            rows.append(
                {
                    "measured": name, "batch": batch, "phrases": args.phrases, "repeats": args.repeats,
                    "median_ms": 1000 * median(seconds), "min_ms": 1000 * min(seconds), "extra": extra,
                }
            )  # fmt: skip
            print(f" {batch:3d}  {name:22s} {rows[-1]['min_ms']:9.1f} ms  {100 * extra:+6.1f} %", flush=True)
    return rows


def take_turns(calls: dict[str, Callable], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each call; the first turn does not count."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(clock() - start)
    return {name: times[1:] for name, times in seconds.items()}


def decode(recognizer: Recognizer, waveforms: list[np.ndarray], scorers: dict[str, Scorer]) -> list[str]:
    """The texts of waveforms."""
    recognizer.scorers = scorers
    return [each.text for each in recognizer.transcribe(waveforms)]


def quality(args: argparse.Namespace) -> list[dict]:
    """A row for each search."""
    recognizer, dataset = load(args.model, args.device), Dataset(args.data)
    configured, rows = recognizer.config, []
    utterances = [dataset[i] for i in range(len(dataset))]
    waveforms = [utterance.input for utterance in utterances]
    references = [utterance.text for utterance in utterances]
    said = [word for text in references for word in text.split()]
    rare = sorted({word for word in said if said.count(word) <= args.rare and len(word) > 3})
    absent = absent_words(args.text, recognizer, set(said))
    rng = np.random.default_rng(0)
    wordless = [np.zeros(60 * dataset.sample_rate, np.int16)] * 10
    noise = rng.standard_normal((10, 60 * dataset.sample_rate)) * np.geomspace(3, 3000, 10)[:, None]
    wordless += list(noise.astype(np.int16))
    noisy = [x + rng.standard_normal(len(x)) * np.std(x) * 10 ** (-args.snr / 20) for x in waveforms]
    noisy = [x.clip(-32768, 32767).astype(np.int16) for x in noisy]
    for method in ("greedy", "beam"):
        recognizer.config = replace(configured, decoding=replace(configured.decoding, method=method))
        steered = {"hotwords": hot_words(absent, recognizer.tokenizer, args.device)}
        plain, after = (decode(recognizer, waveforms, scorers) for scorers in ({}, steered))
        changed = sum(x != y for x, y in zip(plain, after))
        words = [sum(len(x.split()) for x in decode(recognizer, wordless, scorers)) for scorers in ({}, steered)]
        row = {
            "measured": f"quality, {method}", "model": Path(args.model).name, "split": Path(args.data).name,
            "phrases": len(absent), "utterances": len(plain), "changed": changed, "wordless_words": words[1],
        }  # fmt: skip
        without = f"{words[0]} words without speech, then {words[1]}"
        print(f"{method}: {changed} of {len(plain)} transcripts change; {without}", flush=True)
        for snr, audio in (("none", waveforms), (args.snr, noisy)) if rare else ():
            hot = random.Random(0).sample(rare, min(len(rare), args.hot))
            scorers = {"hotwords": hot_words([*hot, *absent], recognizer.tokenizer, args.device)}
            for name, found in (("plain", {}), ("hot", scorers)):
                recall, precision, rest, error = score(references, decode(recognizer, audio, found), set(hot))
                values = {"recall": recall, "precision": precision, "rest": rest, "wer": error}
                row |= {f"{name}_{snr}_{key}": value for key, value in values.items()}
                shown = f"recall {recall:.3f} precision {precision:.3f} others missed {rest:.4f} WER {error:.4f}"
                print(f"  noise {snr}, {name}: {shown}", flush=True)
        rows.append(row)
    return rows


def absent_words(text: str, recognizer: Recognizer, said: set[str]) -> list[str]:
    """1,000 words and pairs of words of a text that the model can spell and that are not said."""
    words = re.findall(r"[a-z]+", Path(text).read_text(encoding="utf-8").lower())
    phrases = {word for word in words if len(word) > 3} | {
        f"{a} {b}" for a, b in itertools.pairwise(words) if len(a + b) > 7
    }
    found = []
    for phrase in random.Random(0).sample(sorted(phrases), len(phrases)):
        try:
            recognizer.tokenizer.encode(phrase)
        except UnknownSymbolError:
            continue
        if not said & set(phrase.split()):
            found.append(phrase)
        if len(found) == 1000:
            break
    return found


def score(references: list[str], texts: list[str], hot: set[str]) -> tuple[float, float, float, float]:
    """Recall and precision of the hot words, share of the other words that are missed, and word error rate."""
    counts = dict.fromkeys(("hot", "found", "given", "other", "kept"), 0)
    for reference, text in zip(references, texts):
        left = text.split()
        counts["given"] += sum(word in hot for word in left)
        for word in reference.split():
            hit = word in left
            if hit:
                left.remove(word)
            counts["hot"] += word in hot
            counts["found"] += hit and word in hot
            counts["other"] += word not in hot
            counts["kept"] += hit and word not in hot
    pairs = [Pair(str(i), x, y, 0.0, "") for i, (x, y) in enumerate(zip(references, texts))]
    recall, precision = (counts["found"] / max(counts[name], 1) for name in ("hot", "given"))
    return recall, precision, 1 - counts["kept"] / max(counts["other"], 1), word_error_rate(pairs).rate


def main() -> None:
    """Print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("speed")
    command.set_defaults(call=speed)
    command.add_argument("--phrases", type=int, default=20_000)
    command.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    command.add_argument("--seconds", type=float, default=12.0, help="of audio in each utterance")
    command.add_argument("--repeats", type=int, default=11)
    command = commands.add_parser("quality")
    command.set_defaults(call=quality)
    command.add_argument("model")
    command.add_argument("--data", required=True)
    command.add_argument("--text", required=True, help="a text with words to take the absent phrases from")
    command.add_argument("--rare", type=int, default=3, help="a rare word is said at most so often in the split")
    command.add_argument("--hot", type=int, default=40, help="rare words among the phrases")
    command.add_argument("--snr", type=int, default=15, help="dB of the white noise that is added in one condition")
    for command in commands.choices.values():
        command.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
        command.add_argument("--save", action="store_true", help="append the rows to results/hotwords.csv")
    args = parser.parse_args()
    rows = args.call(args)
    if args.save:
        print("saved in", append_rows("hotwords", rows, args.device))


if __name__ == "__main__":
    main()
