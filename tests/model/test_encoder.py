"""The encoder's frames: how many there are, and that neither padding nor batch nor order matters to them."""

import pytest
import torch

from rnnt.config import LstmConfig
from rnnt.model.lstm import LstmEncoder as Encoder

LENGTHS = [7, 1, 12, 2, 11]


def make(bidirectional=False, time_stack=2):
    torch.manual_seed(0)
    config = LstmConfig(hidden=5, pre_layers=1, time_stack=time_stack, post_layers=2, bidirectional=bidirectional)
    return Encoder(3, config).double().eval()


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 12, 3, generator=generator, dtype=torch.float64), torch.tensor(LENGTHS)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("time_stack", [1, 2, 3])
def test_padding_batch_and_order_do_not_matter(bidirectional, time_stack):
    encoder = make(bidirectional, time_stack)
    assert encoder.width == (10 if bidirectional else 5)
    x, lengths = batch()
    output, counts = encoder(x, lengths)
    assert counts.tolist() == [-(-length // time_stack) for length in LENGTHS]
    assert output.shape == (5, max(counts), encoder.width)
    order = [3, 1, 4, 0, 2]
    poisoned = x.masked_fill((torch.arange(12) >= lengths[:, None])[:, :, None], torch.nan)
    shuffled, _ = encoder(poisoned[order], lengths[order])
    for i, (length, count) in enumerate(zip(LENGTHS, counts)):
        alone, _ = encoder(x[i : i + 1, :length], lengths[i : i + 1])
        torch.testing.assert_close(output[i, :count], alone[0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(shuffled[order.index(i), :count], alone[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_do_not_see_padding(bidirectional):
    encoder = make(bidirectional)
    x, lengths = batch()
    gradients = []
    for value in (0.0, torch.nan):
        encoder.zero_grad()
        output, counts = encoder(x.masked_fill((torch.arange(12) >= lengths[:, None])[:, :, None], value), lengths)
        sum(output[i, :count].square().sum() for i, count in enumerate(counts)).backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_stacking_puts_neighbours_side_by_side():
    encoder = make()
    x, lengths = batch()
    seen = []
    encoder.post.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    encoder(x, lengths)
    pre = encoder.pre(x, lengths)
    stacked, counts = seen[0]
    assert counts.tolist() == [4, 1, 6, 1, 6]
    torch.testing.assert_close(stacked[0, 1], torch.cat([pre[0, 2], pre[0, 3]]))
    torch.testing.assert_close(stacked[0, 3], torch.cat([pre[0, 6], torch.zeros(5, dtype=torch.float64)]))


def test_a_forward_encoder_does_not_look_ahead():
    encoder = make()
    x, lengths = batch()
    output, _ = encoder(x, lengths)
    x[2, 8:] += 1
    changed, _ = encoder(x, lengths)
    assert torch.equal(output[2, :4], changed[2, :4]) and not torch.equal(output[2, 4], changed[2, 4])
