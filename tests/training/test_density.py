"""Texts that are too dense for the CTC loss: counted as torch's loss is infinite, and told at the start of a run."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from rnnt.config import AugmentConfig
from rnnt.frames import stacked_lengths
from rnnt.recognizer import Recognizer
from rnnt.settings import load_config
from rnnt.tokenizer import Symbols
from rnnt.training.density import ctc_frames, dense_texts
from rnnt.training.trainer import Trainer


@pytest.mark.parametrize("symbols", [[1], [1, 2, 3], [1, 1], [2, 1, 1, 1, 3, 3]])
def test_one_frame_less_makes_the_ctc_loss_infinite(symbols):
    needed = ctc_frames(symbols)
    for frames in range(1, needed + 2):
        log_probs = torch.randn(frames, 1, 5).log_softmax(-1)
        lengths = (torch.tensor([frames]), torch.tensor([len(symbols)]))
        loss = nn.functional.ctc_loss(log_probs, torch.tensor([symbols]), *lengths)
        assert bool(torch.isfinite(loss)) == (frames >= needed)


@pytest.mark.parametrize("preset", ["demo", "small", "conformer-small"])
def test_frames_are_those_of_the_encoder(preset):
    recognizer = Recognizer(load_config(preset, []), Symbols("characters", ["a", "b"]))
    features, encoder = recognizer.features.eval(), recognizer.model.encoder.eval()
    samples = torch.tensor([100, 1600, 4799, 4800, 4801, 16000])
    with torch.no_grad():
        lengths = encoder(*features(torch.zeros(len(samples), 16000), samples))[1]
    num_frames = features.num_frames(samples)
    assert stacked_lengths(num_frames, features.joined, encoder.stride).tolist() == lengths.tolist()


def test_the_line_counts_utterances_as_they_are_and_at_their_fastest():
    config = load_config("demo", ["features.stack=3", "model.encoder.lstm.time_stack=2"])  # frames of 60 ms
    tokenizer = Symbols("characters", ["a", "b"])
    features = Recognizer(config, tokenizer).features
    lengths = np.full(200, 960 * 10)  # ten frames
    fast = AugmentConfig(speed_max=1.25, tempo_max=2.0)  # four frames
    texts = ["ab" * 6] * 3 + ["abab"] * 7 + ["abb"] * 100 + ["abbb"] * 90

    def line(texts, augment):
        return dense_texts(texts, lengths[: len(texts)], tokenizer, features, 2, augment)

    assert "passes over 3 of 200 utterances, and over 93 at the fastest" in line(texts, fast)
    assert "passes over 3 of 200 utterances: " in line(texts, AugmentConfig())
    assert line(texts[2:], AugmentConfig()) == ""  # one of 198 is not worth a line


def test_a_run_tells_it_unless_it_has_no_ctc_loss(tmp_path, prepared, small):
    for weight, told in (("0.3", True), ("0", False)):
        overrides = [*small, "device=cpu", f"train.ctc_weight={weight}", "features.stack=20"]
        notes = Trainer(load_config("small", overrides), prepared, tmp_path / weight).notes
        found = [note for note in notes if re.search(r"the CTC loss .* passes over [1-9]\d* of \d+ utterances", note)]
        assert bool(found) == told
