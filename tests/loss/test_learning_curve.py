"""A model learns along the same curve with the fused loss as with stored logits."""

from functools import partial

import pytest
import torch

from rnnt import transducer_loss
from rnnt.model import Transducer, transducer
from rnnt.model_config import EncoderConfig, JointConfig, LstmConfig, ModelConfig, PredictorConfig


def batches(count):
    """Utterances whose frames are noisy patterns of their symbols, four frames for each symbol."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(7, 10, generator=generator)
    for _ in range(count):
        lengths = torch.randint(1, 4, (8,), generator=generator)
        targets = torch.randint(0, 7, (8, int(lengths.max())), generator=generator)
        frames = patterns[targets].repeat_interleave(4, 1)
        yield frames + 0.3 * torch.randn(frames.shape, generator=generator), 4 * lengths, targets, lengths


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_learning_curve_is_that_of_the_stored_logits(activation, monkeypatch):
    curves = {}
    for implementation in ("reference", "fused"):
        monkeypatch.setattr(transducer, "transducer_loss", partial(transducer_loss, implementation=implementation))
        torch.manual_seed(0)
        config = ModelConfig(
            EncoderConfig(lstm=LstmConfig(hidden=24, pre_layers=1, post_layers=1, dropout=0.1)),
            PredictorConfig(embedding=12, hidden=12, layers=1, dropout=0.1),
            JointConfig(hidden=32, dropout=0.2, activation=activation),
            init_scale=1.0,
        )
        model = Transducer(10, 8, config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        curve = []
        for batch in batches(120):
            optimizer.zero_grad()
            loss = model(*batch).mean()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
        curves[implementation] = torch.tensor(curve)
    assert curves["fused"][-10:].mean() < 0.5 * curves["fused"][:10].mean()
    torch.testing.assert_close(curves["fused"], curves["reference"], rtol=1e-3, atol=1e-3)
