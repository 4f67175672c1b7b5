"""Splits for the benchmark of training have the given lengths, and the operations are those that torch counts."""

import numpy as np
import pytest
import torch
from plain_model import PlainTransducer
from torch.utils.flop_counter import FlopCounterMode
from training_case import Lengths, librispeech_lengths, make_split, model_flops, symbols

from rnnt.dataset import Dataset
from rnnt.model import Transducer
from rnnt.settings import from_tree

MODEL = {
    "encoder": {"lstm": {"hidden": 24, "dropout": 0.0}},
    "predictor": {"embedding": 8, "hidden": 16, "dropout": 0.0},
    "joint": {"hidden": 12, "dropout": 0.0},
}


def config_of(**sections):
    return from_tree({"model": MODEL, **sections}, "test")


@pytest.mark.parametrize("kind", ["sentencepiece", "characters"])
def test_a_split_has_the_given_lengths_and_tokens(tmp_path, kind):
    lengths, tokenizer = (
        [Lengths(0.5, 3), Lengths(2.25, 0), Lengths(1.0, 40)],
        symbols(config_of(tokenizer={"kind": kind})),
    )
    make_split(tmp_path / "split", lengths, 16000, tokenizer)
    data = Dataset(tmp_path / "split")
    assert data.lengths.tolist() == [8000, 36000, 16000]
    assert [len(tokenizer.encode(text)) for text in data.texts()] == [3, 0, 40]
    assert len(tokenizer) == {"sentencepiece": 1023, "characters": 28}[kind]
    assert all(np.abs(utterance.input.astype(int)).max() > 1000 for utterance in data)


def test_lengths_are_those_that_the_preset_admits(shapes_csv):
    shapes_csv((6.0, 100), (0.06, 1), (12.03, 10), (9.0, 50))
    config = config_of(data={"min_seconds": 0.1, "max_seconds": 10.0})
    assert sorted((round(x.seconds, 6), x.tokens) for x in librispeech_lengths(4, config, 0)) == [(6.0, 80), (9.0, 40)]
    letters = config_of(data={"min_seconds": 0.1, "max_seconds": 10.0}, tokenizer={"kind": "characters"})
    assert sorted(x.tokens for x in librispeech_lengths(4, letters, 0)) == [90, 135]  # 15 letters a second


def test_librispeech_is_long_enough_to_draw_from(shared_data):
    config = config_of(data={"max_seconds": 8.0}, tokenizer={"kind": "characters"})
    lengths = librispeech_lengths(500, config, 0)
    assert 20 < len(lengths) < 250
    assert max(x.seconds for x in lengths) <= 8


def test_operations_are_those_that_torch_counts():
    config, frames, tokens = config_of(), 60, 5
    model = PlainTransducer(Transducer(240, 11, config.model))
    x_BSF = torch.randn(1, frames, 240, requires_grad=True)
    counts = []
    # torch does not count the operations of oneDNN's LSTM. Without oneDNN it counts each matrix product.
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        encoder, lengths = model.encoder(x_BSF, torch.tensor([frames]))
        loss = model.loss(encoder, lengths, torch.zeros(1, tokens, dtype=torch.int64), torch.tensor([tokens]))
        counts.append(counter.get_total_flops())
        loss.sum().backward()
        counts.append(counter.get_total_flops())
    expected = model_flops(config, 11, frames * 0.03, tokens)
    assert counts[0] == pytest.approx(expected / 3, rel=1e-9)
    assert counts[1] == pytest.approx(expected, rel=0.03)  # no gradient goes from a first frame to the state before it


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["network", "additive"])
def test_operations_of_other_models_are_those_that_torch_counts(bidirectional, kind):
    model = {**MODEL, "joint": {**MODEL["joint"], "kind": kind}}
    model["encoder"] = {"lstm": {**MODEL["encoder"]["lstm"], "bidirectional": bidirectional}}
    config, frames, tokens = from_tree({"model": model}, "test"), 12, 3
    network = Transducer(240, 11, config.model)
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        encoder_BTD, _ = network.encoder(torch.randn(1, frames, 240), torch.tensor([frames]))
        predictor_BUD = network.predictor(torch.zeros(1, tokens, dtype=torch.int64))
        joint = network.joint
        joint(joint.project_encoder(encoder_BTD)[:, :, None], joint.project_predictor(predictor_BUD)[:, None])
    assert 3 * counter.get_total_flops() == pytest.approx(model_flops(config, 11, frames * 0.03, tokens), rel=1e-9)
