"""NeMo's weights get to where they belong. NeMo is not installed here: its shapes are imitated."""

import pytest
import torch
from compare_nemo import copy_weights, randomize

from rnnt.model.conformer import ConformerEncoder
from rnnt.model_config import ConformerConfig


class Imitation(torch.nn.Module):
    """Gives the weights of an encoder as NeMo's module would."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def state_dict(self):
        weights = {}
        for name, value in self.encoder.state_dict().items():
            weights[name] = value[..., None] if "pointwise" in name and value.ndim == 2 else value
        return {**weights, "layers.0.conv.batch_norm.num_batches_tracked": torch.tensor(3)}


def make(layers=1):
    config = ConformerConfig(width=8, layers=layers, heads=2, kernel=3, subsampling=4, channels=3)
    encoder = ConformerEncoder(5, config).eval()
    randomize(encoder)
    return encoder


def test_copied_weights_give_equal_frames():
    reference, encoder = make(), make()
    x_BSF, lengths = torch.randn(2, 13, 5), torch.tensor([13, 4])
    assert not torch.equal(encoder(x_BSF, lengths)[0], reference(x_BSF, lengths)[0])
    copy_weights(Imitation(reference), encoder)
    assert torch.equal(encoder(x_BSF, lengths)[0], reference(x_BSF, lengths)[0])


def test_another_number_of_layers_is_noticed():
    with pytest.raises((RuntimeError, KeyError)):
        copy_weights(Imitation(make(2)), make(1))
    with pytest.raises(RuntimeError):
        copy_weights(Imitation(make(1)), make(2))
