"""Descriptions of a preset, a run, a model, a prepared split, or a folder of splits."""

import json
import math
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from rnnt.config import Config
from rnnt.dataset import Dataset
from rnnt.description import read_description
from rnnt.latency import algorithmic_latency, why_not_streaming
from rnnt.measure import measure_of
from rnnt.model import Transducer
from rnnt.model.encoder import Encoder
from rnnt.model.transducer import make_encoder
from rnnt.model_folder import find_model, read_config
from rnnt.recognizer import load
from rnnt.settings import find_preset, load_config, presets
from rnnt.shapes import shapes_only
from rnnt.symbol_input import Input, make_input
from rnnt.text import duration, visible
from rnnt.tokenizer import load_chosen_tokenizer
from rnnt.training import checkpoint
from rnnt.tree import distinct_folders


def describe(path: Path) -> str:
    """Return a few lines about a folder; or about a preset or a YAML file, if there is no folder of that name.

    Raises ValueError if there is nothing of this name, or if a folder holds something else.
    """
    if not path.is_dir() and (path.suffix in (".yaml", ".yml") or str(path) in presets()):
        return _preset(str(path))
    if not path.exists():
        raise ValueError(f"{path} does not exist, and no preset has this name; there are {', '.join(presets())}")
    if splits := _splits(path):
        return "\n".join(visible(_split(split)) for split in splits)
    if (path / "metrics.jsonl").is_file():
        return _run(path)
    if (path / "config.yaml").is_file():
        return _model(find_model(path))
    raise ValueError(f"{path} is no run, no model and no prepared data; `rnnt prepare` and `rnnt train` make them")


def verify_shards(path: Path) -> str:
    """Read every shard of a prepared split, or of a folder of splits, and compare its SHA-256; return a line for each.

    Raises ValueError that names all damaged shards, or if there is no prepared data.
    """
    splits = _splits(path)
    if not splits:
        raise ValueError(f"{path} is no prepared data; only the shards of splits have checksums to verify")
    problems = []
    for split in splits:
        try:
            Dataset(split).verify()
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return "\n".join(f"{split}: verified" for split in splits)


def _splits(path: Path) -> list[Path]:
    """The folder itself if it is a split, else the splits in it, each once."""
    if (path / "dataset.json").is_file():
        return [path]
    return distinct_folders(sorted(file.parent for file in path.glob("[!.]*/dataset.json")))


def _split(path: Path) -> str:
    description = read_description(path)
    dataset = Dataset(path)
    lengths = dataset.lengths
    if dataset.input == "audio":
        seconds = lengths / dataset.sample_rate
        size = (
            f"{duration(dataset.hours)} at {dataset.sample_rate} Hz, "
            f"{seconds.min():.1f} to {seconds.max():.1f} s (mean {seconds.mean():.1f})"
        )
    else:
        outputs = [text.split() for text in dataset.texts()]
        written = np.array([len(symbols) for symbols in outputs])
        size = (
            f"{description['words']} words ({len(dataset) / description['words']:.2f} utterances a word), "
            f"{_range(lengths, description['symbols'])} in, "
            f"{_range(written, len(set(chain.from_iterable(outputs))))} out"
        )
    return (
        f"{path}: {len(dataset)} utterances, {size}, "
        f"shards: {len(description['shards'])}, skipped: {description.get('skipped', 0)}, from {description['source']}"
    )


def _range(lengths: np.ndarray, different: int) -> str:
    return f"{lengths.min()} to {lengths.max()} symbols (mean {lengths.mean():.1f}, {different} different)"


def _preset(name: str) -> str:
    """The preset's comment, and the model and training that its settings describe."""
    config = load_config(name)
    lines = find_preset(name).read_text(encoding="utf-8").splitlines()
    comment = [line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines)]
    features = make_input(config)
    with shapes_only():  # takes no memory and no time
        encoder = make_encoder(features.width, config.model.encoder)
    train = config.train
    return "\n".join(
        [
            visible(f"{name}: {' '.join(comment) or 'settings of a run'}"),
            f"  parameters: {_parameters(config)}",
            *_input_and_encoder(features, encoder),
            f"  streaming: {_streaming(features, encoder)}",
            f"  training: {train.epochs} epochs, batch {train.batch}, {config.optim.name}",
        ]
    )


def _parameters(config: Config) -> str:
    """The number of parameters. It depends on the number of symbols, which may only be known from the training text."""
    tokenizer = config.tokenizer
    if tokenizer.path:
        symbols = len(load_chosen_tokenizer(tokenizer))
    elif tokenizer.kind == "sentencepiece":
        symbols = tokenizer.size
    else:
        each = _count(config, 2) - _count(config, 1)
        more = f" and {config.symbols.embedding:,} for each input symbol" if config.input == "symbols" else ""
        return (
            f"{_count(config, 1) - each:,}, and {each:,} for each symbol{more}; "
            f"the symbols are the {tokenizer.kind} of the training text"
        )
    return f"{_count(config, symbols):,} with {symbols} symbols ({tokenizer.kind}) and blank"


def _durations(config: Config) -> str:
    durations = config.model.joint.durations
    return f"; durations of {', '.join(map(str, durations))} frames" if durations else ""


def _count(config: Config, symbols: int) -> int:
    with shapes_only():  # takes no memory and no time
        return Transducer(make_input(config).width, symbols + 1, config.model).num_parameters()


def _input_and_encoder(features: Input, encoder: Encoder) -> list[str]:
    return [
        f"  input: {features.describe(encoder.stride)}",
        f"  encoder: {encoder.describe()}",
    ]


def _streaming(features: Input, encoder: Encoder) -> str:
    """Return "yes" with the latency if the model can encode a stream before its end, and otherwise every reason."""
    if reasons := why_not_streaming(features, encoder):
        return f"no, because {reasons}"
    if not features.frame_seconds:
        return "yes"
    joined, window, ahead = (1000 * seconds for seconds in algorithmic_latency(features, encoder))
    parts = f"{joined:.0f} of joined frames, {window:.0f} of half a window, {ahead:.0f} of look-ahead"
    return f"yes, with a latency of {joined + window + ahead:.0f} ms ({parts})"


def _model(folder: Path) -> str:
    recognizer = load(folder)
    output = f"{len(recognizer.tokenizer)} symbols ({recognizer.tokenizer.kind}) and blank"
    return "\n".join(
        [
            f"{visible(str(folder))}: a model of {recognizer.model.num_parameters():,} parameters",
            *_input_and_encoder(recognizer.features, recognizer.model.encoder),
            f"  streaming: {_streaming(recognizer.features, recognizer.model.encoder)}",
            f"  output: {output}{_durations(recognizer.config)}",
        ]
    )


def _run(path: Path) -> str:
    config = read_config(path / "config.yaml")
    rows, damaged = _metrics(path / "metrics.jsonl")
    name = visible(str(path))
    lines = [f"{name}: a run of {config.train.epochs} epochs, batch {config.train.batch}, {config.optim.name}"]
    steps = [row for row in rows if "loss" in row]
    if steps:
        last = steps[-1]
        loss = "not finite" if last["loss"] is None else f"{last['loss']:.3f}"
        lines.append(f"  done: {last['step']} steps, epoch {last['epoch']:.2f}, loss {loss}")
        skipped = sum("skipped" in row for row in steps)
        if skipped:
            lines.append(f"  {skipped} steps skipped for a loss or gradient that was not finite")
    label = measure_of(config.scoring).first.label
    name = f"valid_{label.lower()}"
    scores = [(row[name], row["step"]) for row in rows if row.get(name) is not None]
    if scores:
        best, step = min(scores)
        lines.append(f"  best validation {label} {100 * best:.2f} % at step {step}")
    if damaged:
        lines.append(f"  {damaged} damaged lines in metrics.jsonl")
    saved = checkpoint.steps(path / "checkpoints")
    lines.append(f"  checkpoints: {', '.join(item.name for item in saved) or 'none yet'}")
    if (path / "best" / "model.safetensors").is_file():
        lines.append(_model(path / "best"))
    return "\n".join(lines)


def _metrics(path: Path) -> tuple[list[dict], int]:
    """The rows of a run's log, and the number of lines that are none.

    A last line without an end does not count as one: the run was killed while it wrote it.
    """
    *lines, last = path.read_bytes().split(b"\n")
    found = [_row(line) for line in lines]
    rows = [row for row in (*found, _row(last)) if row is not None]
    return rows, found.count(None)


def _row(line: bytes) -> dict | None:
    """The row of a line, or None if it has no step and epoch, or has a loss or an error rate that is no number."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int) or not _is_finite(row.get("epoch")):
        return None
    numbers = [row[name] for name in ("loss", "valid_wer", "valid_per") if row.get(name) is not None]
    return row if all(map(_is_finite, (row["step"], *numbers))) else None


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 1e300 and not math.isnan(value)
