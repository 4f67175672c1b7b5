"""The plain model is the same network as ours."""

import pytest
import torch
from plain_model import PlainTransducer

from rnnt.model import Transducer
from rnnt.settings import from_tree


def model_config(**lstm):
    return from_tree(
        {
            "model": {
                "encoder": {"lstm": {"hidden": 24, "dropout": 0.0, **lstm}},
                "predictor": {"embedding": 8, "hidden": 16, "dropout": 0.0},
                "joint": {"hidden": 12, "dropout": 0.0},
            }
        },
        "test",
    ).model


def test_the_plain_model_has_our_loss_whatever_the_padding():
    torch.manual_seed(0)
    ours = Transducer(240, 11, model_config())
    plain = PlainTransducer(ours)
    frames, targets = torch.randn(3, 23, 240), torch.randint(0, 10, (3, 4))
    lengths, target_lengths = torch.tensor([23, 8, 15]), torch.tensor([4, 0, 2])
    encoder, encoder_lengths = plain.encoder(frames, lengths)
    losses = plain.loss(encoder, encoder_lengths, targets, target_lengths)
    torch.testing.assert_close(losses, ours(frames, lengths, targets, target_lengths))


def test_the_plain_model_refuses_an_encoder_that_reads_in_both_directions():
    with pytest.raises(ValueError, match="reads in one direction"):
        PlainTransducer(Transducer(240, 11, model_config(bidirectional=True)))
