"""What a folder holds: a run, a model, a prepared split, or a folder of splits."""

import json
from pathlib import Path

from rnnt.dataset import Dataset, read_description
from rnnt.model_folder import find_model, read_config
from rnnt.recognizer import load
from rnnt.text import duration
from rnnt.training import checkpoint


def describe(path: Path) -> str:
    """A few lines of text. Raises ValueError where the folder is none of ours."""
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if (path / "dataset.json").is_file():
        return _split(path)
    splits = sorted(file.parent for file in path.glob("[!.]*/dataset.json"))
    if splits:
        return "\n".join(_split(split) for split in splits)
    if (path / "metrics.jsonl").is_file():
        return _run(path)
    if (path / "config.yaml").is_file():
        return _model(find_model(path))
    raise ValueError(f"{path} is no run, no model and no prepared data; `rnnt prepare` and `rnnt train` make them")


def _split(path: Path) -> str:
    description = read_description(path)
    dataset = Dataset(path)
    seconds = dataset.lengths / dataset.sample_rate
    return (
        f"{path}: {len(dataset)} utterances, {duration(dataset.hours)} at {dataset.sample_rate} Hz, "
        f"{seconds.min():.1f} to {seconds.max():.1f} s (mean {seconds.mean():.1f}), "
        f"shards: {len(description['shards'])}, skipped: {description.get('skipped', 0)}, from {description['source']}"
    )


def _model(folder: Path) -> str:
    recognizer = load(folder)
    config, model = recognizer.config, recognizer.model
    encoder = config.model.encoder.lstm
    return "\n".join(
        [
            f"{folder}: a model of {model.num_parameters():,} parameters",
            f"  input: {config.features.sample_rate} Hz, {config.features.mels} mel bins, "
            f"one encoder frame every {1000 * recognizer.frame_seconds:.0f} ms",
            f"  encoder: {encoder.pre_layers} + {encoder.post_layers} LSTM layers of {encoder.hidden}"
            + (", both directions" if encoder.bidirectional else ""),
            f"  output: {len(recognizer.tokenizer)} symbols ({recognizer.tokenizer.kind}) and blank",
        ]
    )


def _run(path: Path) -> str:
    config = read_config(path / "config.yaml")
    rows = []
    for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:  # the last line of a run that was killed
            continue
    lines = [f"{path}: a run of {config.train.epochs} epochs, batch {config.train.batch}, {config.optim.name}"]
    steps = [row for row in rows if "loss" in row]
    if steps:
        last = steps[-1]
        loss = "not finite" if last["loss"] is None else f"{last['loss']:.3f}"
        lines.append(f"  done: {last['step']} steps, epoch {last['epoch']:.2f}, loss {loss}")
        skipped = sum("skipped" in row for row in steps)
        if skipped:
            lines.append(f"  {skipped} steps skipped for a loss or gradient that was not finite")
    scores = [(row["valid_wer"], row["step"]) for row in rows if row.get("valid_wer") is not None]
    if scores:
        best, step = min(scores)
        lines.append(f"  best validation WER {100 * best:.2f} % at step {step}")
    saved = checkpoint.steps(path / "checkpoints")
    lines.append(f"  checkpoints: {', '.join(item.name for item in saved) or 'none yet'}")
    if (path / "best" / "model.safetensors").is_file():
        lines.append(_model(path / "best"))
    return "\n".join(lines)
