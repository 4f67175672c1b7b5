"""The presets for TIMIT train on a small corpus of tones, and the models that they make go through every path."""

import numpy as np
import pytest
import torch

from rnnt import load
from rnnt.dataset import Dataset
from rnnt.settings import load_config
from rnnt.training.trainer import Trainer

TONES = ("features.sample_rate=8000", "data.valid=[valid]", "device=cpu", "decoding.beam=4", "scoring.fold=none")


def train(preset, folder, out, *overrides):
    Trainer(load_config(preset, [*TONES, *overrides]), folder, out).run()
    return load(out / "best")


@pytest.fixture(scope="module")
def of_the_paper(tones, tmp_path_factory):
    """The network of the paper after 104 of its own steps, at a learning rate that 20 tones need."""
    out = tmp_path_factory.mktemp("paper") / "run"
    return out, train("timit-graves2012", tones, out, "train.epochs=4", "optim.lr=0.003", "train.weight_noise=0.02")


def test_the_papers_network_has_its_sizes():
    config = load_config("timit-graves2012")
    assert config.features.values * config.features.stack == 26
    assert (config.features.window, config.features.hop) == (400, 160)
    lstm, predictor = config.model.encoder.lstm, config.model.predictor
    assert (lstm.hidden, lstm.pre_layers + lstm.post_layers, lstm.time_stack, lstm.bidirectional) == (128, 1, 1, True)
    assert (predictor.hidden, predictor.layers, predictor.embedding) == (128, 1, 0)
    assert config.model.joint.kind == "additive"
    assert (config.optim.name, config.optim.lr, config.optim.momentum) == ("sgd", 1e-4, 0.9)
    assert (config.train.batch, config.train.weight_noise, config.decoding.method) == (1, 0.075, "beam")


def test_the_papers_network_learns(of_the_paper, rows):
    losses = [row["loss"] for row in rows(of_the_paper[0]) if "loss" in row]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])


def test_a_run_that_goes_on_takes_the_same_steps(tones, tmp_path, state_of, assert_same):
    """Momentum and the noise on the weights are those of a run that never stopped."""
    for name, lengths in (("whole", (6,)), ("halved", (3, 6))):
        for steps in lengths:
            config = load_config("timit-graves2012", [*TONES, f"train.steps={steps}", "data.valid=[]"])
            Trainer(config, tones, tmp_path / name).run()
    whole, halved = (state_of(tmp_path / name) for name in ("whole", "halved"))
    assert_same(whole["recognizer"], halved["recognizer"])
    assert_same(whole["optimizer"], halved["optimizer"])
    assert whole["optimizer"]["state"][0]["step"] == 6


def test_its_features_are_normalised_over_the_training_set(of_the_paper, tones):
    _, model = of_the_paper
    data = Dataset(tones / "train")
    frames = []
    for i in range(len(data)):
        samples = torch.from_numpy(data[i].input.copy())[None]
        frames.append(model.features(samples, torch.tensor([samples.shape[1]]))[0][0])
    frames = torch.cat(frames)
    torch.testing.assert_close(frames.mean(0), torch.zeros(26), atol=1e-3, rtol=0)
    torch.testing.assert_close(frames.std(0), torch.ones(26), atol=1e-2, rtol=0)


def test_its_start_is_between_a_tenth_and_minus_a_tenth(tones, tmp_path):
    trainer = Trainer(load_config("timit-graves2012", TONES), tones, tmp_path / "run")
    for lstm in (trainer.recognizer.model.encoder.pre.forward_layers[0], trainer.recognizer.model.predictor.lstm):
        for name, value in lstm.named_parameters():
            assert value.abs().max() <= 0.1001 and ("bias" in name or value.abs().max() > 0.099)


def test_an_additive_model_transcribes_and_aligns(of_the_paper, tones):
    _, model = of_the_paper
    utterance = Dataset(tones / "valid")[0]
    samples = utterance.input.astype(np.float32) / 32768
    (alone,), together = model.transcribe([samples]), model.transcribe([samples, np.concatenate([samples] * 2)])
    assert alone.text == together[0].text
    aligned = model.align(samples, utterance.text)
    assert [word.word for word in aligned.words] == utterance.text.split()
    assert all(0 <= word.start <= word.end for word in aligned.words)
    greedy = load(of_the_paper[0] / "best", decoding="greedy").transcribe([samples])
    assert isinstance(greedy[0].text, str)


def test_an_additive_model_takes_a_ctc_loss_in_addition(tones, tmp_path, rows):
    found = {}
    for weight in (0.0, 0.5):
        out = tmp_path / str(weight)
        settings = load_config(
            "timit-graves2012", [*TONES, f"train.ctc_weight={weight}", "train.steps=2", "data.valid=[]"]
        )
        Trainer(settings, tones, out).run()
        found[weight] = [row["grad_norm"] for row in rows(out) if "grad_norm" in row]
    assert np.isfinite(found[0.5]).all() and found[0.0][0] < found[0.5][0]


def test_todays_preset_learns(tones, tmp_path, rows):
    small = ("model.encoder.lstm.hidden=32", "model.joint.hidden=32", "schedule.warmup=0.5", "optim.lr=0.01")
    train("timit", tones, tmp_path / "run", *small, "train.epochs=12", "train.batch=8", "train.curriculum_epochs=0")
    losses = [row["loss"] for row in rows(tmp_path / "run") if "loss" in row]
    assert np.isfinite(losses).all() and np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])
