"""Training on spliced utterances: without words, joined, with silence at the ends. Resumption is in test_trainer."""

import json
import math
from dataclasses import replace
from pathlib import Path

import torch

import rnnt
from rnnt.settings import load_config
from rnnt.training.position import Position
from rnnt.training.trainer import Trainer

STEPS = 7  # of an epoch: 26 utterances in batches of 4
SETTINGS = """
features: {sample_rate: 8000, n_fft: 256, window: 200, hop: 80, mels: 16, high_hz: 4000}
tokenizer: {kind: words}
model:
  encoder: {hidden: 24, pre_layers: 1, post_layers: 1, dropout: 0.0}
  predictor: {embedding: 8, hidden: 16, layers: 1, dropout: 0.0}
  joint: {hidden: 24, dropout: 0.0}
  init_scale: 1.0
data: {train: [train], valid: [], buckets: 2}
optim: {name: adamw, lr: 0.01, max_grad_norm: 5.0}
train: {epochs: 2, batch: 4, ema: 0}
"""


def settings(tmp_path: Path, *overrides):
    path = tmp_path / "settings.yaml"
    path.write_text(SETTINGS)
    return load_config(path, overrides)


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_batches_without_any_word_are_trained_on(tones, tmp_path):
    """The loss, CTC and the gradient are finite, and the model learns to write nothing."""
    config = settings(tmp_path, "augment.wordless_probability=1", "train.ctc_weight=1", "train.epochs=4")
    trainer = Trainer(config, tones, tmp_path / "run")
    targets = [batch.target_lengths.sum() for _, shares in batches_of(trainer) for _, batch in shares]
    assert len(targets) == STEPS and sum(targets) == 0
    trainer.run()
    steps = [line for line in lines(tmp_path / "run") if "loss" in line]
    assert len(steps) == 4 * STEPS and all(math.isfinite(line["grad_norm"]) for line in steps)
    assert steps[-1]["loss"] < 0.1 * steps[0]["loss"]
    zeros = torch.zeros(8000, dtype=torch.int16)
    assert [transcript.text for transcript in rnnt.load(tmp_path / "run").transcribe([zeros])] == [""]


def batches_of(trainer):
    return list(trainer.data.rest_of_epoch(Position(), STEPS, trainer.processes))


def test_splicing_begins_at_its_epoch(tones, tmp_path):
    config = settings(tmp_path, "augment.wordless_probability=1", "augment.splice_epoch=1", "train.epochs=3")
    trainer = Trainer(config, tones, tmp_path / "run")
    for epoch in range(3):
        position = replace(Position(), step=epoch * STEPS, epoch=epoch)
        batches = trainer.data.rest_of_epoch(position, 3 * STEPS, trainer.processes)
        symbols = sum(int(batch.target_lengths.sum()) for _, shares in batches for _, batch in shares)
        assert (symbols > 0) == (epoch == 0)


def test_joined_utterances_count_as_many_and_stay_within_the_longest(tones, tmp_path):
    config = settings(
        tmp_path,
        "augment.join_probability=1",
        "augment.ends_probability=1",
        "data.max_seconds=3",
        "train.accumulation=2",
    )
    trainer = Trainer(config, tones, tmp_path / "run")
    first, again = batches_of(trainer), batches_of(trainer)
    rest = list(trainer.data.rest_of_epoch(replace(Position(), step=3, batch=3), STEPS, trainer.processes))
    assert sorted(size for size, _ in first) == [2] + [4] * 6
    ids = [name for _, shares in first for _, batch in shares for row in batch.ids for name in row.split("+")]
    assert sorted(ids) == sorted(trainer.data.dataset.id(i) for i in range(26))
    assert max(len(batch) for _, shares in first for _, batch in shares) < 4
    for a, b in zip(first + first[3:], again + rest, strict=True):
        for (_, x), (_, y) in zip(a[1], b[1], strict=True):
            assert torch.equal(x.inputs, y.inputs) and torch.equal(x.targets, y.targets) and x.ids == y.ids
            assert x.input_lengths.max() <= 3 * 8000
